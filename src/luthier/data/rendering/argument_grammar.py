"""Grammar rules for the arguments of a call, with the members of objects in any order.

llguidance accepts the members of an object only in the order of its schema. Training data often has another order, and
a model constrained to the schema's order cannot write the call that it was trained on. These rules accept the members
in any order and require those that the schema requires. Schemas other than plain objects keep llguidance's rule.
"""

import json
from collections.abc import Iterator
from typing import Any

from luthier.data.rendering.number_bounds import NUMBER_PATTERNS, bounded

SPAN = "x-luthier-span"  # keyword for a string: the name of the rule that it must match; see `copy_grammar`
_FORMAT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Tracking n members takes 2**n rules, so only required members are tracked, and optional ones while there are few. An
# untracked member may be repeated; the last one counts, as always in JSON.
_MAX_REQUIRED, _MAX_TRACKED = 6, 4
# Keywords that the rules implement, then those that only describe.
_OBJECT_KEYWORDS = {"type", "properties", "required", "additionalProperties"}
_ARRAY_KEYWORDS = {"type", "items"}
_ANNOTATIONS = {"title", "description", "examples", "default", "$comment", "$schema"}


def schema_json(schema: Any) -> str:
    """The schema for llguidance, with bounded numbers and the whitespace of rendered training data."""
    limited = bounded(schema)
    return json.dumps({**limited, "x-guidance": _FORMAT} if isinstance(limited, dict) else limited, ensure_ascii=False)


def argument_rules(name: str, schema: Any) -> Iterator[str]:
    """Lark rules in which the rule `name` matches a value of the schema."""
    if "$ref" in json.dumps(schema):
        yield f"{name}: %json {schema_json(schema)}"  # parts of the schema could not resolve their references
    else:
        yield from _value_rules(name, schema)


def close_schema(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of a function's parameters, closed to additional properties unless it has a combinator or `$ref`."""
    schema = dict(parameters or {})
    if not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        schema.setdefault("type", "object")
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
    return schema


def _value_rules(name: str, schema: Any) -> Iterator[str]:
    if is_plain_object(schema):
        yield from _object_rules(name, schema["properties"], schema.get("required") or [])
    elif _is_plain_array(schema):
        yield f'{name}: "[]" | "[" {name}_i (", " {name}_i)* "]"'
        yield from _value_rules(f"{name}_i", schema["items"])
    elif _is_plain_number(schema):
        yield f"{name}: {NUMBER_PATTERNS[schema['type']]}"
    elif isinstance(schema, dict) and SPAN in schema:
        yield f"{name}: {schema[SPAN]}"
    else:
        yield f"{name}: %json {schema_json(schema)}"


def _object_rules(name: str, properties: dict[str, Any], required_keys: list[str]) -> Iterator[str]:
    """Rules for an object. `name_m5` matches what may follow a member while members 0 and 2 (bits of 5) are missing."""
    required = [key for key in properties if key in required_keys]
    optional = [key for key in properties if key not in required_keys]
    tracked = [*required, *optional[: max(0, _MAX_TRACKED - len(required))]]
    untracked = [key for key in properties if key not in tracked]
    required_mask, full_mask = 2 ** len(required) - 1, 2 ** len(tracked) - 1
    for index, key in enumerate([*tracked, *untracked]):
        yield f"{name}_{index}: {_quoted(json.dumps(key, ensure_ascii=False) + ': ')} {name}_{index}v"
        yield from _value_rules(f"{name}_{index}v", properties[key])
    untracked_rules = [f"{name}_{index}" for index in range(len(tracked), len(properties))]

    def continuations(missing: int) -> Iterator[str]:
        yield from (f"{name}_{bit} {name}_m{missing - 2**bit}" for bit in range(len(tracked)) if missing & 2**bit)
        yield from (f"{member} {name}_m{missing}" for member in untracked_rules)

    empty = [] if required else ['"{}"']
    yield f"{name}: " + " | ".join([*empty, *(f'"{{" {rule}' for rule in continuations(full_mask))])
    for missing in range(full_mask + 1):
        end = [] if missing & required_mask else ['"}"']
        yield f"{name}_m{missing}: " + " | ".join([*end, *(f'", " {rule}' for rule in continuations(missing))])


def is_plain_object(schema: Any) -> bool:
    """Whether it is the schema of an object for which `argument_rules` has a rule per member."""
    if (
        not isinstance(schema, dict)
        or schema.get("type") != "object"
        or schema.keys() - _OBJECT_KEYWORDS - _ANNOTATIONS
    ):
        return False
    properties, required = schema.get("properties"), schema.get("required") or []
    if not isinstance(properties, dict) or not properties or not isinstance(required, list):
        return False
    defined = sum(isinstance(key, str) and key in properties for key in required)
    return not schema.get("additionalProperties") and defined == len(required) <= _MAX_REQUIRED


def _is_plain_array(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.get("type") != "array" or schema.keys() - _ARRAY_KEYWORDS - _ANNOTATIONS:
        return False
    return is_plain_object(schema.get("items"))


def _is_plain_number(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.keys() - {"type"} - _ANNOTATIONS:
        return False
    return isinstance(schema.get("type"), str) and schema["type"] in NUMBER_PATTERNS


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
