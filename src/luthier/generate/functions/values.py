"""The values of a parameter: all values of a closed one, a pool of plausible values for an open one.

Numbers take their bounds and some values between. Text takes the values of the user's file, those that the schema
names, the teacher's, or a common pool. Every value is validated against its schema.
"""

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from luthier.generate.errors import OptionsError
from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.patterns import from_pattern
from luthier.generate.functions.value_pools import POOLS
from luthier.language import Language, say

Pools = dict[str, dict[str, list[Any]]]  # function → parameter → values
_SPREAD = 6  # how many values to take between the bounds of a number
_PLAIN_NUMBERS = (1, 2, 3, 5, 7, 10, 12, 15, 20, 30, 50, 100)


@dataclass
class UserContent:
    """The content of a user's --values file.

    Attributes:
        values: Function → parameter → values, or parameter → values.
        phrasings: Function → templates of messages.
        no_call: Messages that need no call, with their answers.
    """

    values: dict[str, Any] = field(default_factory=dict)
    phrasings: dict[str, list[str]] = field(default_factory=dict)
    no_call: list[dict[str, str]] = field(default_factory=list)

    def pool(self, definition: FunctionDefinition, name: str) -> list[Any]:
        by_parameter = self.values.get(definition.name)
        values = by_parameter.get(name) if isinstance(by_parameter, dict) else None
        values = self.values.get(name) if values is None else values
        return values if isinstance(values, list) else []


def read_user_content(path: Path) -> UserContent:
    """Reads a --values file. Raises OptionsError, which describes the expected format."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        content = UserContent(value.get("values", {}), value.get("phrasings", {}), value.get("no_call", []))
        valid_phrasings = all(
            isinstance(phrasings, list) and all(isinstance(text, str) for text in phrasings)
            for phrasings in content.phrasings.values()
        )
        valid_dialogues = all(
            isinstance(pair["user"], str) and isinstance(pair["assistant"], str) for pair in content.no_call
        )
        if isinstance(content.values, dict) and valid_phrasings and valid_dialogues:
            return content
        problem = ""
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        problem = f" ({error})"
    raise OptionsError(
        say(
            f'{path} should be JSON: {{"values": {{"FUNCTION": {{"PARAMETER": [...]}}}}, "phrasings": '
            f'{{"FUNCTION": ["... {{PARAMETER}} ..."]}}, "no_call": [{{"user": ..., "assistant": ...}}]}}{problem}',
            f'{path} 应为 JSON：{{"values": {{"函数": {{"参数": [...]}}}}, "phrasings": '
            f'{{"函数": ["……{{参数}}……"]}}, "no_call": [{{"user": ..., "assistant": ...}}]}}{problem}',
        )
    )


def is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether the schema lists all its values: enum, const or boolean."""
    return "enum" in schema or "const" in schema or schema.get("type") == "boolean"


def closed_values(schema: Mapping[str, Any]) -> list[Any]:
    """All values of a closed parameter."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else [True, False]


def needs_text_values(schema: Mapping[str, Any]) -> bool:
    """Whether values must come from elsewhere: text for which the schema has neither examples nor a default."""
    return not is_closed(schema) and _type(schema) == "string" and not (schema.get("examples") or "default" in schema)


def number_values(schema: Mapping[str, Any], rng: random.Random) -> list[Any]:
    """The bounds of a number and some values between them, as far as the schema allows them."""
    is_integer = _type(schema) == "integer"
    step = schema.get("multipleOf", 1 if is_integer else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        values: list[Any] = [number * step if "multipleOf" in schema else number for number in _PLAIN_NUMBERS]
    else:
        low = high - 20 * step if low is None else low
        high = low + 20 * step if high is None else high
        first, last = -(-low // step), high // step
        if not is_integer and "multipleOf" not in schema and high - low < step:
            values = _narrow_range(low, high)
        elif first > last:
            values = []  # no multiple of `multipleOf` lies within the bounds
        else:
            drawn = [rng.randint(int(first), int(last)) for _ in range(_SPREAD)]
            multiples = (first, last, first + 1, *drawn)
            values = [(int if is_integer else float)(multiple * step) for multiple in multiples]
    return valid_values(schema, [int(value) if float(value).is_integer() else value for value in values])


def _narrow_range(low: float, high: float) -> list[float]:
    """Both bounds and numbers between them, rounded to two significant digits of the range."""
    places = 1 - math.floor(math.log10(high - low)) if high > low else 0
    between = (low + (high - low) * part / _SPREAD for part in range(1, _SPREAD))
    return [low, high, *(round(value, places) for value in between)]


def common_values(definition: FunctionDefinition, name: str, language: Language) -> list[str]:
    """Common values for a text parameter; empty if no pool fits its name or description."""
    schema = definition.properties[name]
    description = f"{name} {schema.get('description', '')} {schema.get('format', '')}".lower()
    if "pattern" in schema and (matching := valid_values(schema, from_pattern(str(schema["pattern"]), name))):
        return matching
    pool = next((row for keys, row in POOLS[language] if any(key in description for key in keys.split("|"))), "")
    return valid_values(schema, pool.split("|") if pool else [])


def valid_values(schema: Mapping[str, Any], values: Iterable[Any]) -> list[Any]:
    """The distinct values that the schema allows, in their order."""
    validator = Draft202012Validator(dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
    distinct = {json.dumps(value, ensure_ascii=False): value for value in values if validator.is_valid(value)}
    return list(distinct.values())


def value_pool(
    definition: FunctionDefinition, name: str, user_content: UserContent, pools: Pools, seed: int, language: Language
) -> list[Any]:
    """The values of an open parameter: the user's, else the schema's, else the teacher's, else common ones.

    `pools` holds the teacher's values.

    Raises:
        OptionsError: No values are known for a text parameter.
    """
    schema = definition.properties[name]
    rng = random.Random(f"{seed}/{definition.name}/{name}")  # noqa: S311 - a plan, no secret
    schema_values = [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]
    for source in (user_content.pool(definition, name), schema_values, pools.get(definition.name, {}).get(name, [])):
        if values := valid_values(schema, source):
            return values
    values = _generated_values(definition, name, schema, rng, language)
    if values:
        return values
    raise OptionsError(
        say(
            f'No values are known for {name} of {definition.name}: give some in the definition\'s "examples" '
            "or in --values FILE, or let a teacher write them (--teacher).",
            f'不知道 {definition.name} 的参数 {name} 可以取什么值：请写在定义的 "examples" 里、用 --values FILE 给出，'
            "或让教师模型来写（--teacher）。",
        )
    )


def _generated_values(
    definition: FunctionDefinition, name: str, schema: Mapping[str, Any], rng: random.Random, language: Language
) -> list[Any]:
    kind = _type(schema)
    if kind in ("integer", "number"):
        return number_values(schema, rng)
    if kind == "string":
        return common_values(definition, name, language)
    if kind == "array":
        elements = _inner_values(schema.get("items") or {}, definition, name, rng, language)
        return valid_values(schema, _arrays(schema, elements, rng))
    if kind == "object":
        return valid_values(schema, _objects(schema, definition, rng, language))
    return []


def _inner_values(
    schema: Mapping[str, Any], definition: FunctionDefinition, name: str, rng: random.Random, language: Language
) -> list[Any]:
    """Values of an array element or a nested property, chosen as for the parameter `name` that contains it."""
    if is_closed(schema):
        return closed_values(schema)
    described = {**schema, "description": f"{schema.get('description', '')} {parameter_description(definition, name)}"}
    inner_definition = FunctionDefinition(definition.name, "", {"type": "object", "properties": {name: described}})
    examples = valid_values(schema, schema.get("examples", []))
    return examples or _generated_values(inner_definition, name, described, rng, language)


def parameter_description(definition: FunctionDefinition, name: str) -> str:
    return str(definition.properties.get(name, {}).get("description", ""))


def _arrays(schema: Mapping[str, Any], elements: list[Any], rng: random.Random) -> list[list[Any]]:
    min_size, max_size = schema.get("minItems", 1), min(schema.get("maxItems", 3), 3, len(elements))
    sizes = [rng.randint(min_size, max(min_size, max_size)) for _ in range(8)]
    return [rng.sample(elements, size) for size in sizes if size <= len(elements)]


def _objects(
    schema: Mapping[str, Any], definition: FunctionDefinition, rng: random.Random, language: Language
) -> list[dict[str, Any]]:
    properties = schema.get("properties") or {}
    values_by_name = {
        name: _inner_values(inner_schema, definition, name, rng, language) for name, inner_schema in properties.items()
    }
    if not values_by_name or not all(values_by_name[name] for name in schema.get("required", [])):
        return []
    return [{name: rng.choice(values) for name, values in values_by_name.items() if values} for _ in range(8)]


def _type(schema: Mapping[str, Any]) -> str:
    """The first type of the schema that is not null; "string" if it has none."""
    kind = schema.get("type", "string")
    kinds = kind if isinstance(kind, list) else [kind]
    return str(next((name for name in kinds if name != "null"), "string"))
