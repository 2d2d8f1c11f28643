"""JSON whose numbers keep their spelling: 1e3 stays 1e3, and 1.10 stays 1.10.

The arguments of a call are decoded and encoded several times between a training file and a client; a model that is
trained on 1000.0 where the file has 1e3 learns something else.
"""

import json
import re
from itertools import chain
from typing import Any

from luthier.types.errors import RenderError


class LosslessNumber(float):
    """A float whose JSON spelling, `text`, differs from its `repr`; it compares and computes as a float."""

    def __new__(cls, text: str) -> "LosslessNumber":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


class CachedObject(dict[str, Any]):
    """An object that is encoded often and never changed: `dumps` encodes it once for each choice of options."""

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__(members)
        self.texts: dict[str, str] = {}


def _number(text: str) -> float | int:
    plain: float | int = float(text) if any(mark in text for mark in ".eE") else int(text)
    return plain if repr(plain) == text else LosslessNumber(text)


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_refuse_constant)


def dumps(value: Any, **options: Any) -> str:
    """As `json.dumps`, but every `LosslessNumber` keeps its spelling, and `ensure_ascii` is False by default."""
    options.setdefault("ensure_ascii", False)
    if isinstance(value, CachedObject):
        choice = repr(options)
        if choice not in value.texts:
            value.texts[choice] = dumps(dict(value), **options)
        return value.texts[choice]
    if not _has_lossless_number(value):
        return json.dumps(value, **options)
    guard = unused_character(value)
    encoded_guard = re.escape(json.dumps(guard, ensure_ascii=options["ensure_ascii"])[1:-1])
    guarded = json.dumps(_with_guarded_numbers(value, guard), **options)
    return re.sub(f'"{encoded_guard}(.*?){encoded_guard}"', r"\1", guarded)


def unused_character(*values: Any) -> str:
    """A private-use character that occurs nowhere in the values. Raises RenderError if they use every one of them."""
    used = json.dumps(values, ensure_ascii=False, default=str)
    for code in chain(range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE)):
        if chr(code) not in used:
            return chr(code)
    raise RenderError("The text uses every private-use character of Unicode.")


def _has_lossless_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_lossless_number(member) for member in value.values())
    if isinstance(value, list):
        return any(_has_lossless_number(element) for element in value)
    return isinstance(value, LosslessNumber)


def _with_guarded_numbers(value: Any, guard: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_guarded_numbers(member, guard) for key, member in value.items()}
    if isinstance(value, list):
        return [_with_guarded_numbers(element, guard) for element in value]
    return f"{guard}{value.text}{guard}" if isinstance(value, LosslessNumber) else value
