"""Schemas of requests may hold anything: keywords of a wrong shape are left out, and refused where they are strict."""

import json
from typing import Any

import pytest

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.rendering.schema_shape import well_shaped
from luthier.server.generation.structured_output import response_grammar
from luthier.server.generation.tool_calls import call_policy
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

STRING = {"type": "string"}
SOUND: dict[str, Any] = {
    "type": ["object", "null"],
    "properties": {"required": STRING, "a": {"items": [STRING, True]}, "b": {"enum": [{"type": 1}], "default": []}},
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"n": {"type": "number", "minimum": 0.5}},
    "title": 7,
}
MALFORMED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"type": {}}, ("type",)),
    ({"type": ["string", {}]}, ("type",)),
    ({"properties": ["a"]}, ("properties",)),
    ({"properties": {"a": {"required": True}}}, ("properties", "a", "required")),
    ({"properties": {"a": "string"}}, ("properties",)),
    ({"required": [{}]}, ("required",)),
    ({"anyOf": [{"items": {"enum": "a"}}]}, ("anyOf", "0", "items", "enum")),
    ({"items": 3}, ("items",)),
    ({"$defs": {"n": {"minimum": "0"}}}, ("$defs", "n", "minimum")),
    ({"$ref": 1}, ("$ref",)),
]


def _policy_of(parameters: dict[str, Any], *, strict: bool) -> str | None:
    function = {"name": "f", "parameters": parameters, "strict": strict}
    tool = {"type": "function", "function": function}
    message = {"role": "user", "content": "q"}
    body = CreateChatCompletionRequest(model="m", messages=[message], tools=[tool], tool_choice="required")
    return response_grammar(body, call_policy(body, AdapterMetadata()))


def test_a_sound_schema_stays_as_it_is() -> None:
    assert well_shaped(SOUND) == (SOUND, [])


@pytest.mark.parametrize(("schema", "path"), MALFORMED, ids=[json.dumps(schema) for schema, _ in MALFORMED])
def test_what_has_another_shape_is_left_out(schema: dict[str, Any], path: tuple[str, ...]) -> None:
    copy, removed = well_shaped(schema)
    assert removed == [path]
    assert well_shaped(copy) == (copy, [])
    assert _policy_of(schema, strict=False)
    with pytest.raises(BadRequestError, match="Invalid schema for function 'f'"):
        _policy_of(schema, strict=True)
