"""Broken JSON → the value that was certainly intended, with the codes of the faults that were repaired.

Each parser repairs one kind of fault and succeeds only if the whole text is JSON then.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.data.jsonl.exact_values import PARSE_ERRORS, parse_exactly, parse_python
from luthier.data.jsonl.syntax_diagnosis import QUOTES, is_foreign_space

Repaired = tuple[Any, list[str]]  # (value, codes)

_FULL_WIDTH = str.maketrans("：，｛｝［］　", ":,{}[] ")
_CLOSING_QUOTES = {"“": "”", "「": "」", "『": "』", "‘": "’", "„": "”"}
_BEFORE_VALUE = re.compile(r"\s*(?:\[?\d+\]?\s*[:.)|\t]|\[\d+\]|data:|[-*+•])\s*(?=[{\[])")
_AFTER_VALUE = re.compile(r"(?<=[}\]])\s*[,;]\s*$")
# A backslash that begins no escape, after any number of escaped backslashes.
_BAD_ESCAPE = re.compile(r"""((?<!\\)(?:\\\\)*)\\([^"\\/bfnrtu]|u(?![0-9a-fA-F]{4}))""")
_ESCAPED = re.compile(r"\\\\")
_LETTER_ESCAPE = re.compile(r"\\[bfnrt]\w")
_WORD = re.compile(r"""[^\s"]+""")
# LaTeX commands that begin like an escape: if a text has one of them, all its single backslashes are ambiguous.
_COMMAND = re.compile(
    r"\\(?:frac|forall|beta|bar|begin|binom|bf|bot|bullet|big\w*|boldsymbol|theta|times|text\w*|tan|tau|to|top|rho|right\w*|"
    r"nu|neq|ne|nabla|neg|not|notin|ni)(?![a-z])"
)


def repair_text(text: str) -> Iterator[Repaired]:
    """The value of the text, unchanged or repaired; nothing if no parser succeeds."""
    for parse in _PARSERS:
        try:
            repaired = parse(text)
        except PARSE_ERRORS:
            continue
        if repaired is not None:
            yield repaired
            return


def _parse_without_marks(text: str) -> Repaired | None:
    """Removes marks around a value: a line number, a bullet or the `data:` of a stream before it, a comma or semicolon
    after it.
    """
    value = _AFTER_VALUE.sub("", _BEFORE_VALUE.sub("", text, count=1))
    return (parse_exactly(value), ["json_invalid"]) if value != text else None


def _parse_with_backslashes(text: str) -> Repaired | None:
    """Doubles backslashes that begin no escape (\\sum, C:\\Users); None if a valid escape beside them is ambiguous."""
    if not _BAD_ESCAPE.search(text):
        return None
    for word in _WORD.findall(text):
        if _BAD_ESCAPE.search(word) and _LETTER_ESCAPE.search(_ESCAPED.sub("", word)):
            return None  # C:\\Users\\new: is this a line break?
    if _COMMAND.search(_ESCAPED.sub("", text)):
        return None
    doubled = _BAD_ESCAPE.sub(lambda match: match[1] + ("" if match[2] == "'" else "\\\\") + match[2], text)
    return parse_exactly(doubled), ["escape_invalid"]


def _parse_unchanged(text: str) -> Repaired:
    return parse_exactly(text), []


def _parse_python(text: str) -> Repaired:
    return parse_python(text), ["python_repr"]


def _parse_without_typos(text: str) -> Repaired:
    """Repairs full-width punctuation, typographic quotation marks, raw control characters and trailing commas."""
    out: list[str] = []
    codes: dict[str, None] = {}
    position = 0
    while position < len(text):
        char = text[position]
        if char == '"' or char in QUOTES:
            end = _string_end(text, position)
            inner = text[position + 1 : end]
            if char != '"':
                codes["smart_quotes"] = None
                inner = inner.replace('"', '\\"')
            out.append(f'"{_escaped(inner, codes)}"')
            position = end + 1
            continue
        plain = " " if is_foreign_space(char) else char.translate(_FULL_WIDTH)
        if plain != char:
            codes["full_width_punctuation"] = None
        if plain in "}]":
            _drop_comma(out, codes)
        out.append(plain)
        position += 1
    return parse_exactly("".join(out)), list(codes)


def _string_end(text: str, start: int) -> int:
    """The offset of the mark that closes the string opened at `start`. Raises ValueError if there is none."""
    mark = text[start]
    closing = _CLOSING_QUOTES.get(mark, mark)
    position = start + 1
    while text[position : position + 1] != closing:
        if position >= len(text):
            raise ValueError("no end")
        position += 2 if text[position] == "\\" else 1
    return position


def _escaped(inner: str, codes: dict[str, None]) -> str:
    if inner.isprintable():
        return inner
    safe = "".join(json.dumps(char)[1:-1] if char < " " else char for char in inner)
    if safe != inner:
        codes["control_character"] = None
    return safe


def _drop_comma(out: list[str], codes: dict[str, None]) -> None:
    last = next((index for index in range(len(out) - 1, -1, -1) if not out[index].isspace()), None)
    if last is not None and out[last] == ",":
        del out[last]
        codes["trailing_comma"] = None


def _parse_without_equal_keys(text: str) -> Repaired:
    """Merges duplicate keys with equal values."""
    return parse_exactly(_rewritten(text)), ["duplicate_key"]


def _parse_without_nan(text: str) -> Repaired | None:
    """Writes null for NaN, which programs write for a missing value."""
    constants: list[str] = []
    written = _rewritten(text, parse_constant=constants.append)
    return (parse_exactly(written), ["number_invalid"]) if constants and set(constants) == {"NaN"} else None


def _rewritten(text: str, parse_constant: Callable[[str], Any] | None = None) -> str:
    """The text with equal members merged, and its numbers spelled as before."""
    parse_number = lossless_json.DECODER.parse_float
    value = json.loads(
        text,
        object_pairs_hook=_merged,
        parse_float=parse_number,
        parse_int=parse_number,
        parse_constant=parse_constant,
    )
    return lossless_json.dumps(value)


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object from its members. Raises ValueError for duplicate keys with different values."""
    value: dict[str, Any] = {}
    for key, member in pairs:
        if key in value and json.dumps(value[key]) != json.dumps(member):
            raise ValueError(key)
        value[key] = member
    return value


_PARSERS = (
    _parse_unchanged,
    _parse_without_typos,
    _parse_without_equal_keys,
    _parse_without_nan,
    _parse_with_backslashes,
    _parse_python,
    _parse_without_marks,
)
