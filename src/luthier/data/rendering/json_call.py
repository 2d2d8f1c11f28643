"""Parses calls that are JSON objects with a name and arguments, complete or cut off."""

import json
import re

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json

NAME = r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")'
_NAME_ONLY = re.compile(NAME, re.DOTALL)
_ARGUMENTS = re.compile(NAME + r'\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)', re.DOTALL)


class JsonScanner:
    """Finds the end of a JSON object that arrives in pieces, by its brackets and strings."""

    def __init__(self, depth: int = 0) -> None:
        """`depth`: the number of brackets that are already open."""
        self._depth, self._in_string, self._escaped = depth, False, False

    def feed(self, text: str) -> int | None:
        """The offset after the bracket that closes the object; None if it is not in this piece."""
        for offset, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._in_string, self._escaped = char != '"', char == "\\"
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return offset + 1
        return None


def parse_call(text: str, key: str = "arguments") -> tuple[str, str] | None:
    """(name, JSON text of the arguments) of a complete JSON object; None if it is not a call.

    A lone surrogate, whose escape a model may write, stays an escape.
    """
    try:
        value = lossless_json.DECODER.decode(text)
        arguments = value.get(key, {})
        if isinstance(arguments, str):  # JSON in a string, as in the API
            arguments = lossless_json.DECODER.decode(arguments)
        arguments = {} if arguments is None else arguments
        encoded = lossless_json.dumps(arguments)
    except (ValueError, AttributeError, RecursionError):
        return None
    name = value.get("name")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return name, "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in encoded)


def parse_arguments(text: str) -> str:
    """`text`, which must be the JSON of an object. Raises ValueError if it is not."""
    try:
        arguments = lossless_json.DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(arguments, dict):
        raise ValueError("no object")
    return text


def beginning_of_call(text: str) -> list[Call]:
    """The call whose JSON was cut off, with its arguments so far, as a list; empty if its name is not complete."""
    partial = _NAME_ONLY.match(text)
    name = json_string(partial[1]) if partial else None
    if name is None:
        return []
    header = _ARGUMENTS.match(text)
    arguments = text[header.end() :] if header else ""
    return [Call(name, arguments[: JsonScanner().feed(arguments)])]


def json_string(text: str) -> str | None:
    try:
        return str(json.loads(text))
    except ValueError:
        return None
