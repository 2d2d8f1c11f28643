"""JSON whose numbers keep the digits they were written with: 1e3 stays 1e3, and 1.10 stays 1.10.

The arguments of a call are read and written several times on their way from a training file to a client; a model
that is taught 1000.0 where its teacher wrote 1e3 has been taught something else. Knows nothing of calls.
"""

import json
import re
from itertools import chain
from typing import Any

from luthier.types.errors import RenderError


class Number(float):
    """A number that `repr` would write in another way; it compares and computes as the float it is."""

    def __new__(cls, text: str) -> "Number":
        made = super().__new__(cls, text)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


def _number(text: str) -> float | int:
    plain: float | int = float(text) if any(mark in text for mark in ".eE") else int(text)
    return plain if repr(plain) == text else Number(text)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_refuse)


def dumps(value: Any, **options: Any) -> str:
    """As `json.dumps`, with every `Number` in its own digits."""
    options.setdefault("ensure_ascii", False)
    if not _has_number(value):
        return json.dumps(value, **options)
    guard = unused_character(value)
    written = re.escape(json.dumps(guard, ensure_ascii=options["ensure_ascii"])[1:-1])
    return re.sub(f'"{written}(.*?){written}"', r"\1", json.dumps(_marked(value, guard), **options))


def unused_character(*values: Any) -> str:
    """A private-use character that occurs nowhere in the values. Raises RenderError if they use every one of them."""
    used = json.dumps(values, ensure_ascii=False, default=str)
    for code in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)):
        if chr(code) not in used:
            return chr(code)
    raise RenderError("The text uses every private-use character of Unicode.")


def _has_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_number(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_number(item) for item in value)
    return isinstance(value, Number)


def _marked(value: Any, guard: str) -> Any:
    if isinstance(value, dict):
        return {key: _marked(item, guard) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, guard) for item in value]
    return f"{guard}{value.text}{guard}" if isinstance(value, Number) else value
