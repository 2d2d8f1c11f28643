"""OpenAI's rules for strict JSON schemas: an object names all of its properties and requires all of them."""

from collections.abc import Iterator
from typing import Any

from luthier.types.errors import BadRequestError


def check_strict(schema: dict[str, Any], owner: str, param: str) -> None:
    """Raises BadRequestError for the first object schema that is not strict; `owner`: what the schema belongs to."""
    for path, part in _object_schemas(schema, ()):
        fault = _fault(part)
        if fault:
            message = f"Invalid schema for {owner}: In context={context_of(path)}, {fault}."
            code = "invalid_function_parameters" if "tools" in param else None
            raise BadRequestError(message, param=param, code=code)


def context_of(path: tuple[str, ...]) -> str:
    """A place in a schema as OpenAI writes it: a Python tuple."""
    return "(" + ", ".join(f"'{step}'" for step in path) + ("," if len(path) == 1 else "") + ")"


def _fault(schema: dict[str, Any]) -> str | None:
    required = schema.get("required")
    missing = [
        key for key in _subschemas(schema, "properties") if not isinstance(required, list) or key not in required
    ]
    if missing:
        return (
            "'required' is required to be supplied and to be an array including every key in properties. "
            f"Missing '{missing[0]}'"
        )
    if schema.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false"
    return None


def _object_schemas(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(path, schema) of every object schema inside, in document order."""
    if isinstance(schema, list):
        for index, entry in enumerate(schema):
            yield from _object_schemas(entry, (*path, str(index)))
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        yield path, schema
    for key, value in _subschemas(schema, "properties").items():
        yield from _object_schemas(value, (*path, "properties", key))
    for key in ("items", "anyOf", "oneOf", "allOf"):
        yield from _object_schemas(schema.get(key), (*path, key))
    for key in ("$defs", "definitions"):
        for name, value in _subschemas(schema, key).items():
            yield from _object_schemas(value, (*path, key, name))


def _subschemas(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """Schemas by name; empty where the value is no object, which the grammar's own check refuses later."""
    value = schema.get(key)
    return value if isinstance(value, dict) else {}
