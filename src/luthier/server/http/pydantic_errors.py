"""Pydantic's complaints in OpenAI's words and codes. Knows nothing about HTTP or about any one resource."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from luthier.types.errors import BadRequestError

_Model = TypeVar("_Model", bound=BaseModel)
_SHOWN = 100  # characters of a value that an error repeats


def validated(model: type[_Model], value: Any) -> _Model:
    """Raises BadRequestError about the first thing that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise validation_error(error.errors(), value) from None


def validation_error(errors: Sequence[Any], body: Any) -> BadRequestError:
    """About the first of pydantic's `errors`; `body` is what they are about."""
    best = _most_telling(errors, body)
    first = best[0]
    kind, given, context = first["type"], first.get("input"), first.get("ctx") or {}
    param = _param(_path(first, body))
    if kind == "union_tag_not_found":
        return validation_error([{"type": "missing", "loc": (*first["loc"], "type")}], body)
    if kind == "none_required":
        message = f"Unsupported parameter: '{param}' is not available on this server."
        return BadRequestError(message, param=param, code="unsupported_parameter")
    if kind in ("missing", "extra_forbidden"):
        return _missing_or_unknown(kind, param)
    if kind in ("literal_error", "union_tag_invalid"):
        return _not_among(param, given, context)
    if kind in _LIMITS:
        return _out_of_range(kind, param, given, context)
    if kind in _LENGTHS:
        return _wrong_length(kind, param, given, context)
    if _is_about_type(kind):
        return _wrong_type([error["type"] for error in best], param, given)
    said = str(first["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        said = f"string does not match pattern. Expected a string that matches the pattern '{context['pattern']}'"
    code = kind if kind in _OUR_CODES else "invalid_value"
    return BadRequestError(f"Invalid '{param}': {said}.", param=param, code=code)


def _missing_or_unknown(kind: str, param: str) -> BadRequestError:
    if not param:
        return BadRequestError("you must provide a request body")
    if kind == "missing":
        text, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
    else:
        text, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
    return BadRequestError(text, param=param, code=code)


def _not_among(param: str, given: Any, context: dict[str, Any]) -> BadRequestError:
    """One of several words was wanted, here or, for a union told apart by a field, in that field."""
    if "discriminator" in context:
        field = context["discriminator"].strip("'")
        param, given = (f"{param}.{field}" if param else field), context["tag"]
    words = re.findall(r"'[^']*'", context.get("expected") or context["expected_tags"])
    wanted = f"{', '.join(words[:-1])}{',' * (len(words) > 2)} and {words[-1]}" if len(words) > 1 else words[0]
    text = f"Invalid value: {_shown(given)}. Supported values are: {wanted}."
    return BadRequestError(text, param=param, code="invalid_value")


_OUR_CODES = ("object_above_max_properties", "property_name_above_max_length")  # raised by our own types
_LIMITS = {
    "greater_than_equal": ("ge", "below minimum", ">="),
    "greater_than": ("gt", "below minimum", ">"),
    "less_than_equal": ("le", "above maximum", "<="),
    "less_than": ("lt", "above maximum", "<"),
}


def _out_of_range(kind: str, param: str, given: Any, context: dict[str, Any]) -> BadRequestError:
    """The field decides between integer and decimal: pydantic gives a decimal field's bound as a float."""
    what, side, sign = _LIMITS[kind]
    bound = context[what]
    number = "decimal" if isinstance(bound, float) else "integer"
    wanted = f"{bound:g}" if isinstance(bound, float) else bound
    text = (
        f"Invalid '{param}': {number} {side} value. Expected a value {sign} {wanted}, but got {_shown(given)} instead."
    )
    code = f"{number}_{'below_min' if side == 'below minimum' else 'above_max'}_value"
    return BadRequestError(text, param=param, code=code)


_LENGTHS = {
    "too_short": ("array", "min"),
    "too_long": ("array", "max"),
    "string_too_short": ("string", "min"),
    "string_too_long": ("string", "max"),
}


def _wrong_length(kind: str, param: str, given: Any, context: dict[str, Any]) -> BadRequestError:
    what, side = _LENGTHS[kind]
    a = f"{'an' if what == 'array' else 'a'} {what}"
    wanted = f"Expected {a} with {side}imum length {context[f'{side}_length']}"
    if not given:
        text, code = f"empty {what}. {wanted}, but got an empty {what} instead.", f"empty_{what}"
    else:
        word = "long" if side == "max" else "short"
        text = f"{what} too {word}. {wanted}, but got {a} with length {len(given)} instead."
        code = f"{what}_{'above_max' if side == 'max' else 'below_min'}_length"
    return BadRequestError(f"Invalid '{param}': {text}", param=param, code=code)


_TYPES = {
    "string": "a string",
    "int": "an integer",
    "float": "a decimal",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}


def _is_about_type(kind: str) -> bool:
    return kind.endswith("_type") or kind in ("int_from_float", "int_parsing", "int_parsing_size", "float_parsing")


def _wrong_type(kinds: Sequence[str], param: str, given: Any) -> BadRequestError:
    """What each branch of a union wanted, or the one type that was wanted."""
    wanted = list(dict.fromkeys(_TYPES.get(kind.split("_")[0], kind.split("_")[0]) for kind in kinds))
    what = f"one of {' or '.join([wanted[0], *(name.split()[1] for name in wanted[1:])])}" if wanted[1:] else wanted[0]
    where = f" for '{param}'" if param else ""
    text = f"Invalid type{where}: expected {what}, but got {_type_name(given)} instead."
    return BadRequestError(text, param=param or None, code="invalid_type")


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _shown(value: Any) -> str:
    """A value as an error repeats it: not more of it than a person reads."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _most_telling(errors: Sequence[Any], body: Any) -> list[Any]:
    """Of the branches of a union each complains. The one that got furthest into the value says most, and one about
    the value more than one about its type; several that want other types come back together.
    """
    first = errors[0]
    border = next((at for at, real in enumerate(_real(first, body)) if not real), None)
    if border is None:
        return [first]
    union = [error for error in errors if error["loc"][:border] == first["loc"][:border]]
    ranks = [(-_depth(error, body), _vagueness(error)) for error in union]
    best = min(ranks)
    return [error for error, rank in zip(union, ranks, strict=True) if rank == best]


def _depth(error: Any, body: Any) -> int:
    """How far into the value it got; to find a list too long its items were counted."""
    counted = 1 if error["type"] == "too_long" else 0
    return len(_path(error, body)) + counted


def _vagueness(error: Any) -> int:
    if error["type"] == "literal_error":  # a word was wanted: that is news only to one who sent a word
        return 1 if isinstance(error["input"], str) else 3
    return 2 if _is_about_type(error["type"]) else 0


def _real(error: Any, body: Any) -> list[bool]:
    """For each part of the place whether it is one: pydantic mixes in the branches of unions that it tried."""
    parts, value, real = error["loc"], body, []
    for at, part in enumerate(parts):
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            real.append(True)
            value = value[part]
        else:
            real.append(error["type"] == "missing" and at == len(parts) - 1)
    return real


def _path(error: Any, body: Any) -> list[str | int]:
    return [part for part, real in zip(error["loc"], _real(error, body), strict=True) if real]


def _param(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
