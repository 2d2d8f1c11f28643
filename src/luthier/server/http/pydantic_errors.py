"""Pydantic's validation errors with OpenAI's wording and codes."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from luthier.types.errors import BadRequestError

_Model = TypeVar("_Model", bound=BaseModel)
_MAX_QUOTED = 100  # characters of a value that an error quotes


def validated(model: type[_Model], value: Any) -> _Model:
    """Validate `value`. Raises BadRequestError about the first invalid field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise validation_error(error.errors(), value) from None


def validation_error(errors: Sequence[Any], body: Any) -> BadRequestError:
    """The error for the most specific of pydantic's `errors` about `body`."""
    candidates = _most_specific(errors, body)
    first = candidates[0]
    kind, value, context = first["type"], first.get("input"), first.get("ctx") or {}
    param = _param(_path(first, body))
    if kind == "union_tag_not_found":
        return validation_error([{"type": "missing", "loc": (*first["loc"], "type"), "input": value}], body)
    if kind == "none_required":
        message = f"Unsupported parameter: '{param}' is not available on this server."
        return BadRequestError(message, param=param, code="unsupported_parameter")
    if kind in ("missing", "extra_forbidden"):
        return _missing_or_unknown(kind, param)
    if kind in ("literal_error", "union_tag_invalid"):
        path = _path(first, body)
        numbers = [error["type"] for error in errors if _is_number_error(error["type"]) and _path(error, body) == path]
        return _not_in_enum(param, value, context, numbers)
    if kind in _LIMITS:
        return _out_of_range(kind, param, value, context)
    if kind in _LENGTHS:
        return _wrong_length(kind, param, value, context)
    if _is_type_error(kind):
        return _wrong_type([error["type"] for error in candidates], param, value)
    return _invalid_value(first, param)


def _invalid_value(error: Any, param: str) -> BadRequestError:
    reason = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        reason = f"string does not match pattern. Expected a string that matches the pattern '{pattern}'"
    code = error["type"] if error["type"] in _CUSTOM_CODES else "invalid_value"
    return BadRequestError(f"Invalid '{param}': {reason}.", param=param, code=code)


def _missing_or_unknown(kind: str, param: str) -> BadRequestError:
    if not param:
        return BadRequestError("you must provide a request body")
    if kind == "missing":
        text, code = f"Missing required parameter: '{param}'.", "missing_required_parameter"
    else:
        text, code = f"Unknown parameter: '{param}'.", "unknown_parameter"
    return BadRequestError(text, param=param, code=code)


def _as_json(expected: str) -> str:
    return expected if "'" in expected else expected.lower()  # True and False are not strings


def _not_in_enum(param: str, value: Any, context: dict[str, Any], numbers: Sequence[str]) -> BadRequestError:
    """The value, or the discriminator field of a tagged union, is not one of the supported strings.

    `numbers`: the type errors of numbers that are supported beside the strings.
    """
    if "discriminator" in context:
        field = context["discriminator"].strip("'")
        param, value = (f"{param}.{field}" if param else field), context["tag"]
    words = re.findall(r"'[^']*'|true|false", _as_json(context.get("expected") or context["expected_tags"]))
    supported = f"{', '.join(words[:-1])}{',' * (len(words) > 2)} and {words[-1]}" if len(words) > 1 else words[0]
    if numbers:
        supported += f", or {_TYPES[numbers[0].split('_')[0]]} (a number, not a string with digits)"
    text = f"Invalid value: {_quoted(value)}. Supported values are: {supported}."
    return BadRequestError(text, param=param, code="invalid_value")


_CUSTOM_CODES = ("object_above_max_properties", "property_name_above_max_length")  # raised by `luthier.types`
_LIMITS = {
    "greater_than_equal": ("ge", "below minimum", ">="),
    "greater_than": ("gt", "below minimum", ">"),
    "less_than_equal": ("le", "above maximum", "<="),
    "less_than": ("lt", "above maximum", "<"),
}


def _out_of_range(kind: str, param: str, value: Any, context: dict[str, Any]) -> BadRequestError:
    """Integer or decimal by the field, not the value: pydantic's bound for a decimal field is a float."""
    key, side, sign = _LIMITS[kind]
    bound = context[key]
    number = "decimal" if isinstance(bound, float) else "integer"
    limit = f"{bound:g}" if isinstance(bound, float) else bound
    text = (
        f"Invalid '{param}': {number} {side} value. Expected a value {sign} {limit}, but got {_quoted(value)} instead."
    )
    code = f"{number}_{'below_min' if side == 'below minimum' else 'above_max'}_value"
    return BadRequestError(text, param=param, code=code)


_LENGTHS = {
    "too_short": ("array", "min"),
    "too_long": ("array", "max"),
    "string_too_short": ("string", "min"),
    "string_too_long": ("string", "max"),
}


def _wrong_length(kind: str, param: str, value: Any, context: dict[str, Any]) -> BadRequestError:
    noun, side = _LENGTHS[kind]
    with_article = f"{'an' if noun == 'array' else 'a'} {noun}"
    expected = f"Expected {with_article} with {side}imum length {context[f'{side}_length']}"
    if not value:
        text, code = f"empty {noun}. {expected}, but got an empty {noun} instead.", f"empty_{noun}"
    else:
        word = "long" if side == "max" else "short"
        text = f"{noun} too {word}. {expected}, but got {with_article} with length {len(value)} instead."
        code = f"{noun}_{'above_max' if side == 'max' else 'below_min'}_length"
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


def _is_type_error(kind: str) -> bool:
    return kind.endswith(("_type", "_parsing")) or kind in ("int_from_float", "int_parsing_size")


def _is_number_error(kind: str) -> bool:
    return _is_type_error(kind) and kind.split("_")[0] in ("int", "float")


def _wrong_type(kinds: Sequence[str], param: str, value: Any) -> BadRequestError:
    """`kinds`: the type error of each branch of a union, or of the only type."""
    expected = list(dict.fromkeys(_TYPES.get(kind.split("_")[0], kind.split("_")[0]) for kind in kinds))
    types = expected[0]
    if expected[1:]:
        types = f"one of {' or '.join([expected[0], *(name.split()[1] for name in expected[1:])])}"
    location = f" for '{param}'" if param else ""
    text = f"Invalid type{location}: expected {types}, but got {_type_name(value)} instead."
    return BadRequestError(text, param=param or None, code="invalid_type")


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal number", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")


def _quoted(value: Any) -> str:
    """A value as quoted in an error, truncated."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


def _most_specific(errors: Sequence[Any], body: Any) -> list[Any]:
    """The errors to report, of those that the branches of a union raise.

    The error deepest inside the value is the most specific, and one about the value more specific than one about its
    type. Type errors of equal rank are returned together.
    """
    first = errors[0]
    union_depth = next((depth for depth, in_body in enumerate(_parts_in_body(first, body)) if not in_body), None)
    if union_depth is None:
        return [first]
    union = [error for error in errors if error["loc"][:union_depth] == first["loc"][:union_depth]]
    ranks = [(-_depth(error, body), _vagueness(error)) for error in union]
    best = min(ranks)
    return [error for error, rank in zip(union, ranks, strict=True) if rank == best]


def _depth(error: Any, body: Any) -> int:
    """How deep inside the value the error is; a list that is too long was validated one level deeper."""
    return len(_path(error, body)) + int(error["type"] == "too_long")


def _vagueness(error: Any) -> int:
    if error["type"] == "literal_error":  # the list of supported strings helps only a client that sent a string
        return 1 if isinstance(error["input"], str) else 3
    return 2 if _is_type_error(error["type"]) else 0


def _parts_in_body(error: Any, body: Any) -> list[bool]:
    """For each part of the location whether it is a key or index of `body`, not the name of a union's branch."""
    parts, value, in_body = error["loc"], body, []
    for position, part in enumerate(parts):
        if _is_tag(value, part, parts[position + 1 :], error):
            in_body.append(False)
        elif (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            in_body.append(True)
            value = value[part]
        else:
            in_body.append(error["type"] == "missing" and position == len(parts) - 1)
    return in_body


def _is_tag(value: Any, part: Any, rest: Sequence[Any], error: Any) -> bool:
    """Whether `part` is the tag of a union's branch, not the field of the same name, such as `text` of a text part.

    The input of an error tells which object the last part belongs to; it is that object itself if a field is missing.
    """
    if not (isinstance(value, dict) and rest and value.get("type") == part):
        return False
    if len(rest) > 1:
        return rest[0] in value
    is_missing = error["type"] == "missing"
    return (is_missing or rest[0] in value) and error.get("input") == (value if is_missing else value[rest[0]])


def _path(error: Any, body: Any) -> list[str | int]:
    return [part for part, in_body in zip(error["loc"], _parts_in_body(error, body), strict=True) if in_body]


def _param(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
