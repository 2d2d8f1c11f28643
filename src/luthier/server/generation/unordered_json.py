"""Grammar rules for the arguments of a call, in whatever order a model was taught to write them.

The grammar engine takes the members of an object in the order of its schema only. Training data often has another,
that of the sentence say, and a model that is held to the schema's order cannot write the call that it knows. Here the
members come in any order, none missing that is required. What is no plain object keeps the engine's rule.
"""

import json
from collections.abc import Iterator
from typing import Any

_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Members whose coming is kept count of, which takes two to the power of so many rules: required ones, and optional
# ones while there are few. Other optional ones may come twice; the last then counts, as ever in JSON.
_MOST_REQUIRED, _MOST_COUNTED = 6, 4
# Keywords that the rules below heed, or that only describe.
_OBJECT = {"type", "properties", "required", "additionalProperties"}
_ARRAY = {"type", "items"}
_WORDS = {"title", "description", "examples", "default", "$comment", "$schema"}


def as_json(schema: Any) -> str:
    """As the engine reads it, with blanks as training data is rendered."""
    return json.dumps({**schema, "x-guidance": _FORM} if isinstance(schema, dict) else schema, ensure_ascii=False)


def rules(name: str, schema: Any, *, whole: bool = True) -> Iterator[str]:
    """Lines of Lark in which the rule `name` stands for a value of the schema."""
    if whole and "$ref" in json.dumps(schema):
        yield f"{name}: %json {as_json(schema)}"  # a part of it could not be resolved
    elif _is_plain_object(schema):
        yield from _object(name, schema["properties"], schema.get("required") or [])
    elif _is_plain_array(schema):
        yield f'{name}: "[]" | "[" {name}_i (", " {name}_i)* "]"'
        yield from rules(f"{name}_i", schema["items"], whole=False)
    else:
        yield f"{name}: %json {as_json(schema)}"


def _object(name: str, properties: dict[str, Any], required: list[str]) -> Iterator[str]:
    """`name_m5` says what may follow a member when members 0 and 2 (the bits of 5) have not come yet."""
    needed = [key for key in properties if key in required]
    optional = [key for key in properties if key not in required]
    counted = [*needed, *optional[: max(0, _MOST_COUNTED - len(needed))]]
    free = [key for key in properties if key not in counted]
    must = 2 ** len(needed) - 1
    for index, key in enumerate([*counted, *free]):
        yield f"{name}_{index}: {_quoted(json.dumps(key, ensure_ascii=False) + ': ')} {name}_{index}v"
        yield from rules(f"{name}_{index}v", properties[key], whole=False)
    everything = 2 ** len(counted) - 1
    often = [f"{name}_{index}" for index in range(len(counted), len(properties))]

    def following(missing: int) -> Iterator[str]:
        yield from (f"{name}_{bit} {name}_m{missing - 2**bit}" for bit in range(len(counted)) if missing & 2**bit)
        yield from (f"{member} {name}_m{missing}" for member in often)

    empty = [] if needed else ['"{}"']
    yield f"{name}: " + " | ".join([*empty, *(f'"{{" {one}' for one in following(everything))])
    for missing in range(everything + 1):
        ends = [] if missing & must else ['"}"']
        yield f"{name}_m{missing}: " + " | ".join([*ends, *(f'", " {one}' for one in following(missing))])


def _is_plain_object(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.get("type") != "object" or schema.keys() - _OBJECT - _WORDS:
        return False
    properties, required = schema.get("properties"), schema.get("required") or []
    if not isinstance(properties, dict) or not properties or not isinstance(required, list):
        return False
    needed = sum(key in properties for key in required)
    return not schema.get("additionalProperties") and needed == len(required) <= _MOST_REQUIRED


def _is_plain_array(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.get("type") != "array" or schema.keys() - _ARRAY - _WORDS:
        return False
    return _is_plain_object(schema.get("items"))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
