"""The value that a text holds: JSON, or the output of Python's `print`; every number keeps its spelling."""

import ast
import io
import json
import re
import tokenize
import warnings
from contextlib import suppress
from itertools import pairwise
from typing import Any

from luthier.data.findings import FindingError
from luthier.data.jsonl import lossless_json
from luthier.data.jsonl.reader import parse_json

PARSE_ERRORS = (
    FindingError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError,
)  # fmt: skip
_UNPRINTED_ESCAPE = re.compile(r"\\[abfv0-7N\n]")  # Python reads these escapes, but its `print` writes none of them
_ESCAPED = re.compile(r"\\\\")
_MAX_PYTHON_LENGTH = 1024 * 1024  # characters; Python's parser needs many times that much memory


def parse_exactly(text: str) -> Any:
    """As `parse_json`, but every number keeps its spelling. Raises FindingError."""
    parse_json(text)
    return lossless_json.DECODER.decode(text)


def held_value(text: str) -> Any:
    """The value of a text that is JSON, or an object or list that Python's `print` wrote; None for any other text."""
    with suppress(FindingError, ValueError):
        return parse_exactly(text)
    return python_value(text)


def python_value(text: str) -> Any:
    """The object or list that Python's `print` wrote as this text; None for any other text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    with suppress(*PARSE_ERRORS):
        return parse_python(text)
    return None


def parse_python(text: str) -> Any:
    """Reads the output of Python's `print`; raises one of `PARSE_ERRORS` for any other text. What Python also accepts
    but never prints is refused: adjacent strings, equal keys, comments, and numbers in another spelling.
    """
    if len(text) > _MAX_PYTHON_LENGTH or _UNPRINTED_ESCAPE.search(_ESCAPED.sub("", text)):
        raise ValueError("too long, or not printed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an invalid escape sequence
        tree = ast.parse(text.strip(), mode="eval")
    tokens = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
    types = [token.type for token in tokens]
    if (tokenize.STRING, tokenize.STRING) in pairwise(types) or any(_has_equal_keys(node) for node in ast.walk(tree)):
        raise ValueError("adjacent strings or equal keys")
    numbers = {token.string for token in tokens if token.type == tokenize.NUMBER}
    if tokenize.COMMENT in types or any(repr(ast.literal_eval(number)) != number for number in numbers):
        raise ValueError("a comment, or a number in another spelling")
    value = ast.literal_eval(tree)
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if json.loads(written) != value:  # tuples, and keys that are not strings, would change their type
        raise ValueError("not JSON")
    return parse_exactly(written)


def _has_equal_keys(node: ast.AST) -> bool:
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
    return len(set(keys)) < len(keys)
