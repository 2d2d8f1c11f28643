"""Arguments against the JSON schema of their function, by the library jsonschema; validators are made once per schema.

`pattern` and `format` are not enforced: an expression from a file could run for hours. Nothing is ever fetched: a
reference to another place makes a schema unusable.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

_Validator = extend(Draft202012Validator, {"pattern": None, "patternProperties": None, "format": None})  # type: ignore[no-untyped-call]
_CODES = {
    "required": "argument_missing",
    "additionalProperties": "argument_unknown",
    "type": "argument_type",
    "enum": "argument_not_in_enum",
    "const": "argument_not_in_enum",
}


class Break(NamedTuple):
    """How a value breaks a schema: the code, the path from the arguments down, what was seen, what was expected."""

    code: str
    path: str
    seen: Any
    expected: str


def fault_of(parameters: dict[str, Any]) -> str | None:
    """What makes it no usable schema, or None."""
    made = _made(_key(parameters))
    return made if isinstance(made, str) else None


def breaks(parameters: dict[str, Any], arguments: dict[str, Any]) -> Iterator[Break]:
    """Every way in which the arguments break the schema; none for what is no usable schema."""
    validator = _made(_key(parameters))
    if isinstance(validator, str):
        return
    try:
        errors = sorted(validator.iter_errors(arguments), key=lambda error: error.json_path)
    except (Unresolvable, RecursionError, ValueError):
        return
    for error in errors:
        yield from _broken(error)


def unknown(parameters: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Arguments that the schema does not name, though it does not forbid them."""
    named = parameters.get("properties")
    if not isinstance(named, dict) or not named or {"additionalProperties", "patternProperties"} & parameters.keys():
        return []
    if parameters.keys() & {"$ref", "allOf", "anyOf", "oneOf", "if"}:  # these may name more
        return []
    return [key for key in arguments if key not in named]


def _broken(error: ValidationError) -> Iterator[Break]:
    at = ".".join(str(part) for part in error.absolute_path)
    code = _CODES.get(str(error.validator), "arguments_break_schema")
    if code == "argument_missing":
        required: Any = error.validator_value
        # One error comes for each missing name; it is told apart by its message alone.
        names = [name for name in required if error.message.startswith(repr(name))]
        yield from (Break(code, _join(at, name), name, "") for name in names)
    elif code == "argument_unknown" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        extra = [name for name in error.instance if name not in known]
        yield from (Break(code, _join(at, name), name, ", ".join(known)) for name in extra)
    else:
        expected = error.validator_value
        written = expected if isinstance(expected, str) else orjson.dumps(expected).decode()
        yield Break(code, at, error.instance, written if code in _CODES.values() else f"{error.validator}: {written}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _key(parameters: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(parameters)
    except TypeError:  # an integer of more than 64 bits
        return b"false"


@lru_cache(maxsize=4096)
def _made(schema: bytes) -> Any:
    """A validator, or the reason why there is none."""
    parameters = orjson.loads(schema)
    if not isinstance(parameters, dict):
        return "an integer of more than 64 bits"
    try:
        _Validator.check_schema(parameters)
    except (SchemaError, RecursionError, Unresolvable) as error:
        return str(getattr(error, "message", error))
    return _Validator(parameters, registry=Registry())
