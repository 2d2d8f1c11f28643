"""Bounds on the digits of numbers: a small model constrained to a schema may write digits up to its token limit.

Integers have at most 15 digits, which every JSON reader represents exactly, and fractions at most 9.
"""

from typing import Any

# Keywords of a JSON schema whose values are schemas: an object of schemas by name; one schema or a list of them.
MAPPING_KEYWORDS = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
SCHEMA_KEYWORDS = ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties", "not", "contains")
_LARGEST = 10**15 - 1
_SMALLEST_STEP = 1e-9
_EXACT_KEYWORDS = {"enum", "const"}
_INTEGER = "-?(0|[1-9][0-9]{0,14})"
# By type, the Lark regular expression for values of a schema without further keywords. Numbers may have an exponent.
NUMBER_PATTERNS = {
    "integer": f"/{_INTEGER}/",
    "number": f"/{_INTEGER}(\\.[0-9]{{1,9}})?([eE][+-]?[0-9]{{1,3}})?/",
}


def bounded(schema: Any) -> Any:
    """A copy of the schema in which the digits of all integers and numbers are bounded."""
    if isinstance(schema, list):
        return [bounded(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    copy = dict(schema)
    for key in MAPPING_KEYWORDS:
        if isinstance(copy.get(key), dict):
            copy[key] = {name: bounded(value) for name, value in copy[key].items()}
    for key in SCHEMA_KEYWORDS:
        if key in copy:
            copy[key] = bounded(copy[key])
    return copy | _bounds(copy)


def _bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """The keywords to add to bound a schema's numbers; none if it has such keywords already, or no numbers."""
    types = schema.get("type")
    names = {name for name in (types if isinstance(types, list) else [types]) if isinstance(name, str)}
    if not names & {"integer", "number"} or schema.keys() & _EXACT_KEYWORDS:
        return {}
    lower = _own(schema, "minimum", "exclusiveMinimum")
    upper = _own(schema, "maximum", "exclusiveMaximum")
    if any(abs(bound) > _LARGEST for bound in (*lower, *upper)):
        return {}
    bounds: dict[str, Any] = {} if lower else {"minimum": -_LARGEST}
    if not upper:
        bounds["maximum"] = _LARGEST
    if "number" in names and "multipleOf" not in schema:
        bounds["multipleOf"] = _SMALLEST_STEP
    return bounds


def _own(schema: dict[str, Any], *keywords: str) -> list[int | float]:
    return [schema[key] for key in keywords if isinstance(schema.get(key), int | float)]
