"""Broken JSON → the value that was certainly meant, with the codes of what was mended.

Each way mends one kind of mistake and yields only if all of the text is JSON then. Which values make sense as
examples is not known here.
"""

import ast
import io
import json
import tokenize
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import parse_json
from luthier.data.jsonl.syntax_diagnosis import QUOTES

Mended = tuple[Any, list[str]]

_FULL_WIDTH = str.maketrans("：，｛｝［］　", ":,{}[] ")
_CLOSING = {"“": "”", "「": "」", "『": "』", "‘": "’", "„": "”"}
_LONGEST = 1024 * 1024  # characters that Python's own reader is given; it needs memory many times that


def mend_text(text: str) -> Iterator[Mended]:
    """The value of the text as it is, or of the text mended; nothing if no way leads to JSON."""
    for way in (_as_it_is, _without_slips, _without_repeated_keys, _as_python):
        try:
            mended = way(text)
        except (FindingError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
            continue
        if mended is not None:
            yield mended
            return


def _as_it_is(text: str) -> Mended:
    return parse_json(text), []


def _as_python(text: str) -> Mended | None:
    """What `print` wrote. Python reads more than that: two texts in a row as one, the last of equal keys; not here."""
    if len(text) > _LONGEST:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a backslash that escapes nothing
        tree = ast.parse(text.strip(), mode="eval")
    tokens = [token.type for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline)]
    if (tokenize.STRING, tokenize.STRING) in pairwise(tokens) or any(_repeats(node) for node in ast.walk(tree)):
        return None
    value = ast.literal_eval(tree)
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Tuples and keys that are no text would come out as something else than was written.
    return (parse_json(written), ["python_repr"]) if json.loads(written) == value else None


def _repeats(node: ast.AST) -> bool:
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
    return len(set(keys)) < len(keys)


def _without_slips(text: str) -> Mended:
    """Full-width punctuation and typographic marks between texts, raw control characters in them, a comma too many."""
    out: list[str] = []
    codes: dict[str, None] = {}
    at = 0
    while at < len(text):
        char = text[at]
        if char == '"' or char in QUOTES:
            end = _end_of_text(text, at)
            inner = text[at + 1 : end]
            if char != '"':
                codes["smart_quotes"] = None
                inner = inner.replace('"', '\\"')
            out.append(f'"{_escaped(inner, codes)}"')
            at = end + 1
            continue
        plain = char.translate(_FULL_WIDTH)
        if plain != char:
            codes["full_width_punctuation"] = None
        if plain in "}]":
            _drop_comma(out, codes)
        out.append(plain)
        at += 1
    return parse_json("".join(out)), list(codes)


def _end_of_text(text: str, start: int) -> int:
    """Where the text that begins with the mark at `start` ends. Raises ValueError if it does not."""
    mark = text[start]
    closing = _CLOSING.get(mark, mark)
    at = start + 1
    while text[at : at + 1] != closing:
        if at >= len(text):
            raise ValueError("no end")
        at += 2 if text[at] == "\\" else 1
    return at


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


def _without_repeated_keys(text: str) -> Mended:
    """Two equal keys with equal values are one."""

    def merge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key, item in pairs:
            if key in value and json.dumps(value[key]) != json.dumps(item):
                raise ValueError(key)
            value[key] = item
        return value

    value = json.loads(text, object_pairs_hook=merge)
    return parse_json(json.dumps(value, ensure_ascii=False)), ["duplicate_key"]
