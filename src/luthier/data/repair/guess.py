"""Guesses the meaning of a line that is not JSON, with json-repair. A guess is applied only if the caller agrees.

json-repair turns `hello` into an empty text and completes truncated objects, so its result is never certain.
"""

import json
import re
from collections import Counter
from typing import Any

_BRACKET = re.compile(r"[\[{}\]]")
_MAX_SCANNED = 500_000  # characters: json-repair scans the rest of the text again at every level of nesting
_CONSTANT = re.compile(r"\b(?:None|True|False|null|true|false|undefined|NaN)\b")
_UNICODE_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def guess_json(text: str) -> Any:
    """The guessed object; None if the text is JSON already, if the result is not an object, or if a guess would take
    more than about a second.
    """
    from json_repair import repair_json

    if len(text) * _depth(text) > _MAX_SCANNED:
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return None
    try:
        value = repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError, IndexError):
        return None
    return value if isinstance(value, dict) and value else None


def _depth(text: str) -> int:
    """The levels of nesting, with brackets inside of strings, whose ends are uncertain in broken JSON."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest


def loses_no_text(before: str, after: str) -> bool:
    """Whether `after` contains every letter and digit of `before` at least as often, in whatever order."""
    return not Counter(_letters(before)) - Counter(_letters(after))


def _letters(text: str) -> str:
    text = _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return "".join(char for char in _CONSTANT.sub("", text) if char.isalnum())
