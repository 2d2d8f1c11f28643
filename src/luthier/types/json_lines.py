"""JSON values that stay one line for every reader.

Python's `str.splitlines`, and with it `httpx.Response.iter_lines`, ends a line also at U+0085, U+2028 and U+2029, which
JSON allows inside a string. They are written as escapes, which mean the same.
"""

import json
from typing import Any

_ESCAPES = {character: f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}


def json_line(value: Any) -> str:
    """The JSON text of a value, without a line end."""
    return in_one_line(json.dumps(value, ensure_ascii=False))


def in_one_line(text: str) -> str:
    """A JSON text with escapes in place of the characters that some readers end lines at."""
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text
