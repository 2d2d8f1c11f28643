"""Arguments as plain text, for forms with a tag around each argument: strings are written without quotes.

The type of such a text depends on the schema. A string that would be read as another type, such as "5" if the schema
leaves the type open, is written as JSON, with quotes.
"""

from typing import Any

from luthier.data.jsonl import lossless_json

_LITERALS = {"True": True, "False": False, "None": None}  # Jinja writes these values in Python's spelling


def read_value(text: str, schema: Any) -> Any:
    """The value of a text by its schema, which is None if not known."""
    types, value = value_types(schema), _decoded(text)
    if isinstance(value, str):
        return value if _needs_quotes(value, types) else text
    return value if _fits(value, types) else text


def write_value(value: Any, schema: Any) -> Any:
    """The value, or a text to write instead of it, so that `read_value` returns the value."""
    if isinstance(value, str):
        return lossless_json.dumps(value) if _needs_quotes(value, value_types(schema)) else value
    if isinstance(value, bool) or value is None:
        return lossless_json.dumps(value)
    return value


def parameter_schema(functions: Any, function: str, parameter: str) -> Any:
    """The schema of a parameter among definitions in today's form; None if it is not known."""
    for tool in functions or []:
        if tool["function"]["name"] == function:
            return property_schema(tool["function"].get("parameters"), parameter)
    return None


def property_schema(schema: Any, parameter: str) -> Any:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties.get(parameter) if isinstance(properties, dict) else None


def is_text(schema: Any) -> bool:
    """Whether every value of the schema is a string."""
    return value_types(schema) == {"string"}


def _needs_quotes(text: str, types: set[str] | None) -> bool:
    """Whether the plain text would be read as another value."""
    value = _decoded(text)
    if isinstance(value, _NoJson):
        return "\n<" in text or text != text.strip()  # may contain a closing tag, or white space that is not kept
    if isinstance(value, str):
        return True
    return _fits(value, types)


def _fits(value: Any, types: set[str] | None) -> bool:
    if isinstance(value, _NoJson):
        return False
    return types is None or _type_of(value) in types or (_type_of(value) == "integer" and "number" in types)


class _NoJson:
    """The result of decoding a text that is not JSON."""


_NO_JSON = _NoJson()


def _decoded(text: str) -> Any:
    if text in _LITERALS:
        return _LITERALS[text]
    try:
        return lossless_json.DECODER.decode(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def value_types(schema: Any) -> set[str] | None:
    """The JSON types of the schema's values, as far as it names them; None if it leaves them open."""
    if not isinstance(schema, dict):
        return None
    if "enum" in schema and isinstance(schema["enum"], list):
        return {_type_of(value) for value in schema["enum"]}
    if "const" in schema:
        return {_type_of(schema["const"])}
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return {str(each) for each in kind}
    parts = [value_types(part) for key in ("anyOf", "oneOf") for part in schema.get(key) or []]
    if parts and all(part is not None for part in parts):
        return {each for part in parts if part for each in part}
    return None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "integer" if isinstance(value, int) or float(value).is_integer() else "number"
