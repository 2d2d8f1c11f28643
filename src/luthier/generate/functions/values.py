"""What a parameter may be: every choice of a closed one, a pool of sensible values for an open one.

Numbers get their bounds and some values between; text gets what the schema itself names, what the person's own file
or the teacher gave, or an everyday pool. Every value is held against its schema. Knows one parameter at a time.
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
from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.patterns import from_pattern
from luthier.generate.functions.value_pools import POOLS
from luthier.language import Language, say

Pools = dict[str, dict[str, list[Any]]]  # by function, by parameter
_SPREAD = 6  # values between the bounds of a number
_PLAIN_NUMBERS = (1, 2, 3, 5, 7, 10, 12, 15, 20, 30, 50, 100)


@dataclass
class Own:
    """A person's own file: values by function and parameter (or by parameter alone), phrasings, small talk."""

    values: dict[str, Any] = field(default_factory=dict)
    phrasings: dict[str, list[str]] = field(default_factory=dict)
    no_call: list[dict[str, str]] = field(default_factory=list)

    def pool(self, definition: Definition, name: str) -> list[Any]:
        own = self.values.get(definition.name)
        found = own.get(name) if isinstance(own, dict) else None
        found = self.values.get(name) if found is None else found
        return found if isinstance(found, list) else []


def read_own(path: Path) -> Own:
    """Raises OptionsError that says what the file should be."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        own = Own(value.get("values", {}), value.get("phrasings", {}), value.get("no_call", []))
        rows = all(isinstance(text, str) for one in own.phrasings.values() for text in one)
        rows = rows and all(isinstance(one, list) for one in own.phrasings.values())
        talk = all(isinstance(pair["user"], str) and isinstance(pair["assistant"], str) for pair in own.no_call)
        if isinstance(own.values, dict) and rows and talk:
            return own
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
    """Whether all values can be listed."""
    return "enum" in schema or "const" in schema or schema.get("type") == "boolean"


def choices(schema: Mapping[str, Any]) -> list[Any]:
    """All values of a closed parameter."""
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else [True, False]


def needs_words(schema: Mapping[str, Any]) -> bool:
    """Whether values must come from somebody: text without a list of its own."""
    return not is_closed(schema) and _type(schema) == "string" and not (schema.get("examples") or "default" in schema)


def numbers(schema: Mapping[str, Any], dice: random.Random) -> list[Any]:
    """Boundaries first, then some between; only those that the schema allows."""
    whole = _type(schema) == "integer"
    step = schema.get("multipleOf", 1 if whole else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        made: list[Any] = [number * step if "multipleOf" in schema else number for number in _PLAIN_NUMBERS]
    else:
        low = high - 20 * step if low is None else low
        high = low + 20 * step if high is None else high
        first, last = -(-low // step), high // step
        if not whole and "multipleOf" not in schema and high - low < step:
            made = _narrow(low, high)
        elif first > last:
            made = []  # no multiple of the step is inside
        else:
            inside = [dice.randint(int(first), int(last)) for _ in range(_SPREAD)]
            made = [(int if whole else float)(turn * step) for turn in (first, last, first + 1, *inside)]
    return valid(schema, [int(one) if float(one).is_integer() else one for one in made])


def _narrow(low: float, high: float) -> list[float]:
    """Both bounds and some numbers between, with two digits that tell them apart."""
    places = 1 - math.floor(math.log10(high - low)) if high > low else 0
    return [low, high, *(round(low + (high - low) * turn / _SPREAD, places) for turn in range(1, _SPREAD))]


def everyday(definition: Definition, name: str, language: Language) -> list[str]:
    """Values for a parameter of plain text that need no teacher; empty where none are known."""
    schema = definition.properties[name]
    words = f"{name} {schema.get('description', '')} {schema.get('format', '')}".lower()
    if "pattern" in schema and (made := valid(schema, from_pattern(str(schema["pattern"]), name))):
        return made
    found = next((pool for keys, pool in POOLS[language] if any(key in words for key in keys.split("|"))), "")
    return valid(schema, found.split("|") if found else [])


def valid(schema: Mapping[str, Any], values: Iterable[Any]) -> list[Any]:
    """Those that fit the schema, each once, in order."""
    check = Draft202012Validator(dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER)
    seen = {json.dumps(value, ensure_ascii=False): value for value in values if check.is_valid(value)}
    return list(seen.values())


def pool_of(definition: Definition, name: str, own: Own, pools: Pools, seed: int, language: Language) -> list[Any]:
    """What an open parameter may be: the person's own values, the schema's, the teacher's, else everyday ones.

    Raises OptionsError for text that nobody has a value for.
    """
    schema = definition.properties[name]
    dice = random.Random(f"{seed}/{definition.name}/{name}")  # noqa: S311 - a plan, no secret
    named = [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]
    for source in (own.pool(definition, name), named, pools.get(definition.name, {}).get(name, [])):
        if found := valid(schema, source):
            return found
    made = _made(definition, name, schema, dice, language)
    if made:
        return made
    raise OptionsError(
        say(
            f'No values are known for {name} of {definition.name}: name some in the definition\'s "examples", in '
            "--values FILE, or let a teacher write them (--teacher).",
            f'不知道 {definition.name} 的参数 {name} 可以取什么值：请写在定义的 "examples" 里、用 --values FILE 给出，'
            "或让教师模型来写（--teacher）。",
        )
    )


def _made(
    definition: Definition, name: str, schema: Mapping[str, Any], dice: random.Random, language: Language
) -> list[Any]:
    kind = _type(schema)
    if kind in ("integer", "number"):
        return numbers(schema, dice)
    if kind == "string":
        return everyday(definition, name, language)
    if kind == "array":
        return valid(schema, _arrays(schema, _inner(schema.get("items") or {}, definition, name, dice, language), dice))
    if kind == "object":
        return valid(schema, _objects(schema, definition, dice, language))
    return []


def _inner(
    schema: Mapping[str, Any], definition: Definition, name: str, dice: random.Random, language: Language
) -> list[Any]:
    """Values of an item or of an inner property, looked up by the name of what holds it."""
    if is_closed(schema):
        return choices(schema)
    words = {**schema, "description": f"{schema.get('description', '')} {definition_text(definition, name)}"}
    holder = Definition(definition.name, "", {"type": "object", "properties": {name: words}})
    return valid(schema, schema.get("examples", [])) or _made(holder, name, words, dice, language)


def definition_text(definition: Definition, name: str) -> str:
    return str(definition.properties.get(name, {}).get("description", ""))


def _arrays(schema: Mapping[str, Any], items: list[Any], dice: random.Random) -> list[list[Any]]:
    least, most = schema.get("minItems", 1), min(schema.get("maxItems", 3), 3, len(items))
    sizes = [dice.randint(least, max(least, most)) for _ in range(8)]
    return [dice.sample(items, size) for size in sizes if size <= len(items)]


def _objects(
    schema: Mapping[str, Any], definition: Definition, dice: random.Random, language: Language
) -> list[dict[str, Any]]:
    inner = {
        name: _inner(one, definition, name, dice, language) for name, one in (schema.get("properties") or {}).items()
    }
    if not inner or not all(inner[name] for name in schema.get("required", [])):
        return []
    return [{name: dice.choice(values) for name, values in inner.items() if values} for _ in range(8)]


def _type(schema: Mapping[str, Any]) -> str:
    """The first type that is not null; text where none is said."""
    kind = schema.get("type", "string")
    kinds = kind if isinstance(kind, list) else [kind]
    return str(next((one for one in kinds if one != "null"), "string"))
