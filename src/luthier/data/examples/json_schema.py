"""Validates arguments against the JSON schemas of functions, with the library jsonschema.

Validators are compiled once per schema; the library is imported with the first one. `pattern` and `format` are not
enforced: a regular expression from a file could run for hours. Nothing is fetched: a schema that refers to another
document is unusable.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import orjson

from luthier.types.sized_cache import sized_cache

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_CODES = {
    "required": "argument_missing",
    "additionalProperties": "argument_unknown",
    "type": "argument_type",
    "enum": "argument_not_in_enum",
    "const": "argument_not_in_enum",
}


class Violation(NamedTuple):
    """How a value violates a schema: the finding code, the path below the arguments, the value, what was expected."""

    code: str
    path: str
    value: Any
    expected: str


def schema_error(parameters: dict[str, Any]) -> str | None:
    """Why `parameters` is not a usable schema; None if it is one."""
    validator = _validator(_cache_key(parameters))
    return validator if isinstance(validator, str) else None


def violations(parameters: dict[str, Any], arguments: dict[str, Any]) -> Iterator[Violation]:
    """Every way in which the arguments violate the schema; none for an unusable schema."""
    validator = _validator(_cache_key(parameters))
    if isinstance(validator, str):
        return
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(validator.iter_errors(arguments), key=lambda error: error.json_path)
    except (Unresolvable, RecursionError, ValueError):
        return
    for error in errors:
        yield from _violations_of(error)


def undeclared_arguments(parameters: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Arguments that the schema does not declare, although it does not forbid them."""
    declared = parameters.get("properties")
    if not isinstance(declared, dict) or not declared:
        return []
    if parameters.keys() & {"additionalProperties", "patternProperties"}:
        return []
    if parameters.keys() & {"$ref", "allOf", "anyOf", "oneOf", "if"}:  # these may declare more
        return []
    return [key for key in arguments if key not in declared]


def _violations_of(error: ValidationError) -> Iterator[Violation]:
    path = ".".join(str(part) for part in error.absolute_path)
    code = _CODES.get(str(error.validator), "arguments_break_schema")
    if code == "argument_missing":
        required: Any = error.validator_value
        # jsonschema raises one error per missing name; only the message says which.
        names = [name for name in required if error.message.startswith(repr(name))]
        yield from (Violation(code, _join(path, name), name, "") for name in names)
    elif code == "argument_unknown" and isinstance(error.instance, dict):
        declared = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        extra = [name for name in error.instance if name not in declared]
        yield from (Violation(code, _join(path, name), name, ", ".join(declared)) for name in extra)
    else:
        expected = error.validator_value
        written = expected if isinstance(expected, str) else orjson.dumps(expected).decode()
        is_specific = code in _CODES.values()
        yield Violation(code, path, error.instance, written if is_specific else f"{error.validator}: {written}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _cache_key(parameters: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(parameters)
    except TypeError:  # an integer of more than 64 bits
        return b"false"


@sized_cache
def _validator(schema: bytes) -> Any:
    """A compiled validator, or the reason, as text, why there is none."""
    parameters = orjson.loads(schema)
    if not isinstance(parameters, dict):
        return "an integer of more than 64 bits"
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    no_formats = FormatChecker(formats=())  # accept patterns in JavaScript's syntax
    try:
        _validator_class().check_schema(parameters, format_checker=no_formats)
    except (SchemaError, RecursionError, Unresolvable) as error:
        return str(getattr(error, "message", error))
    unresolved = next((pointer for pointer in _references(parameters) if not _resolves(parameters, pointer)), None)
    if unresolved is not None:
        return f"$ref {unresolved}"
    return _validator_class()(parameters, registry=Registry())


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    ignored = {"pattern": None, "patternProperties": None, "format": None}
    return extend(Draft202012Validator, ignored)  # type: ignore[no-untyped-call]


def _references(schema: dict[str, Any]) -> Iterator[str]:
    """The values of all `$ref` in a schema, except those inside values such as `enum`."""
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            stack += [member for key, member in node.items() if key not in ("enum", "const", "default", "examples")]
        elif isinstance(node, list):
            stack += node


def _resolves(schema: dict[str, Any], pointer: str) -> bool:
    """Whether a reference points to a part of the schema itself. Names of anchors are not followed here."""
    if not pointer.startswith("#"):
        return pointer == schema.get("$id")
    node: Any = schema
    for part in pointer[1:].split("/")[1:]:
        part = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return False
    return True
