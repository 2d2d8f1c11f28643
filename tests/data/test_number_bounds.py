"""Digits of numbers under a grammar: bounded wherever a schema has numbers, by its own keywords first."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.rendering.argument_grammar import argument_rules, schema_json
from luthier.data.rendering.number_bounds import bounded
from luthier.inference.scheduling.structured_output import GrammarMatcher

INTEGER, NUMBER = {"type": "integer"}, {"type": "number"}
LONG_FRACTION, LONG_INTEGER = "0." + "3" * 40, "9" * 40


def accepts(base: Path, rules: list[str], text: str) -> bool:
    """The tiny base has a token for each byte."""
    matcher = GrammarMatcher("%llguidance {}\n" + "\n".join(rules) + "\n", base, [257])
    from tokenizers import Tokenizer

    for token in Tokenizer.from_file(str(base / "tokenizer.json")).encode(text, add_special_tokens=False).ids:
        if not matcher.allowed()[token]:
            return False
        matcher.consume(token)
    return bool(matcher.allowed()[257])


CASES = [
    (INTEGER, ["0", "-7", "123456789012345"], ["00", "1.0", LONG_INTEGER]),
    (NUMBER, ["0", "-7.25", "2.5e-3", "1E+10"], [LONG_FRACTION, LONG_INTEGER, "1e1234"]),
    ({"type": ["integer", "null"]}, ["null", "12"], [LONG_INTEGER]),
    ({"type": "integer", "minimum": 5}, ["5", "1200"], ["4", LONG_INTEGER]),
    ({"type": "number", "exclusiveMinimum": 0.5}, ["0.75", "12"], ["0.25", LONG_FRACTION, LONG_INTEGER]),
    ({"type": "integer", "enum": [3, 10**16]}, ["3", str(10**16)], ["4"]),
    ({"type": "array", "items": {"anyOf": [NUMBER, INTEGER]}}, ["[1.5, 2]"], [f"[{LONG_FRACTION}]"]),
    ({"type": "object", "additionalProperties": INTEGER}, ['{"a": 1}'], [f'{{"a": {LONG_INTEGER}}}']),
    (
        {"$defs": {"n": NUMBER}, "type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"]},
        ['{"a": 1.5}'],
        [f'{{"a": {LONG_FRACTION}}}'],
    ),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES, ids=[json.dumps(case[0])[:40] for case in CASES])
@pytest.mark.parametrize("as_argument", [True, False])
def test_digits_are_bounded(
    tiny_base: Path, schema: Any, valid: list[str], invalid: list[str], as_argument: bool
) -> None:
    rules = [*argument_rules("start", schema)] if as_argument else [f"start: %json {schema_json(schema)}"]
    exponents = as_argument and schema == NUMBER
    for text in valid:
        assert accepts(tiny_base, rules, text) == (exponents or "e" not in text.lower() or text == "null"), text
    assert not [text for text in invalid if accepts(tiny_base, rules, text)]


def test_the_schema_itself_stays_as_it_is() -> None:
    schema = {"type": "object", "properties": {"type": INTEGER, "items": {"enum": [1]}}}
    before = json.dumps(schema)
    assert bounded(schema)["properties"]["type"] == {"type": "integer", "minimum": -(10**15) + 1, "maximum": 10**15 - 1}
    assert bounded(schema)["properties"]["items"] == {"enum": [1]}
    assert json.dumps(schema) == before


@pytest.mark.parametrize("required", [[{}], [[]], [None], [1], ["a", {}], "a", {"a": 1}])
def test_required_members_of_any_kind_make_a_grammar(required: object) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": required}
    assert list(argument_rules("arguments", schema))
