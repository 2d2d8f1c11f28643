"""Structured outputs: the tiny base has random weights, so valid output is valid because of the grammar."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai import OpenAI
from pydantic import BaseModel
from serving import Bare, ScriptedEngine, accepts, body_of, make_model
from tokenizers import Tokenizer

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.examples.tool_definitions import FunctionSchemas
from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.harmony_form import HarmonyForm
from luthier.data.rendering.hermes_form import HERMES
from luthier.inference.scheduling.structured_output import GrammarMatcher, validate_grammar
from luthier.server.generation.structured_output import ResponseGrammar, response_grammar
from luthier.server.generation.tool_calls import call_policy
from luthier.types.chat import CreateChatCompletionRequest, Message, Tool

F = {
    "name": "write_leave_letter",
    "parameters": {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["病假", "事假"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 30},
            "paid": {"type": "boolean"},
        },
        "required": ["kind", "days", "paid"],
        "additionalProperties": False,
    },
}
G = {"name": "ping"}
HERMES_CALL = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
TOOLS = [{"type": "function", "function": F}, {"type": "function", "function": G}]
STRICT = [{"type": "function", "function": {**F, "strict": True}}]
JSON = {"type": "json_schema", "json_schema": {"name": "letter", "schema": F["parameters"], "strict": True}}


def complete(client: OpenAI, **more: Any) -> Any:
    messages = [{"role": "user", "content": "请假，用 JSON 回答"}]
    return client.chat.completions.create(model="gpt-4o-mini", messages=messages, max_tokens=200, **more)


def valid(function: Any) -> bool:
    return not FunctionSchemas(TOOLS).faults(function.name, json.loads(function.arguments))


@pytest.mark.parametrize(
    ("tool_choice", "names"),
    [
        ("required", {"write_leave_letter", "ping"}),
        ({"type": "function", "function": {"name": "write_leave_letter"}}, {"write_leave_letter"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "ping"}}]},
            },
            {"ping"},
        ),
    ],
)
def test_a_call_that_is_asked_for_is_made_and_valid(client: OpenAI, tool_choice: Any, names: set[str]) -> None:
    for seed in range(6):
        choice = complete(client, tools=TOOLS, tool_choice=tool_choice, parallel_tool_calls=False, seed=seed).choices[0]
        (call,) = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls"
        assert call.function.name in names
        assert valid(call.function)


def test_a_legacy_call_that_is_asked_for(client: OpenAI) -> None:
    choice = complete(client, functions=[F, G], function_call={"name": "write_leave_letter"}, temperature=2).choices[0]
    assert choice.finish_reason == "function_call"
    assert valid(choice.message.function_call)


def test_strict_functions_may_be_called_and_need_not(client: OpenAI) -> None:
    """Random weights hardly ever begin a call; a call that begins is completed."""
    answer = complete(client, tools=STRICT, seed=3, temperature=2).choices[0].message
    assert "<tool_call>" not in (answer.content or "")


@pytest.mark.parametrize("seed", range(4))
def test_json_by_schema_whole_and_streamed(client: OpenAI, seed: int) -> None:
    whole = complete(client, response_format=JSON, seed=seed).choices[0]
    assert whole.finish_reason == "stop"
    Draft202012Validator(F["parameters"]).validate(json.loads(whole.message.content))
    chunks = list(complete(client, response_format=JSON, seed=seed, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content


class Letter(BaseModel):
    kind: str
    days: int


def test_the_clients_parse_gives_an_object(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "请假"}]
    for seed in range(20):
        response = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=messages,
            max_tokens=400,
            seed=seed,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "Letter", "schema": Letter.model_json_schema()},
            },
        ).choices[0]
        if response.finish_reason == "stop":
            assert Letter.model_validate_json(response.message.content or "")
            return
    pytest.fail("no answer came to its end")


def test_any_json_object(client: OpenAI) -> None:
    response = complete(client, response_format={"type": "json_object"}, seed=1, max_completion_tokens=None).choices[0]
    if response.finish_reason == "stop":
        assert isinstance(json.loads(response.message.content), dict)
    assert response.message.content.startswith("{")


def test_a_fine_tuned_model_is_held_to_the_functions_that_it_knows(bare: Bare, tmp_path: Path) -> None:
    client = bare.client()
    name = make_model(bare, client, "ft:gpt-4o-mini-2024-07-18:personal::abcd1234", tmp_path / "adapter")
    adapter = bare.store.models.find(name).adapter  # type: ignore[union-attr]
    AdapterMetadata("tools", definitions=TOOLS).write(adapter)
    messages: Any = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError, match="'fly' is not among the functions that this model was trained"):
        client.chat.completions.create(
            model=name, messages=messages, tool_choice={"type": "function", "function": {"name": "fly"}}
        )


def test_a_model_that_knows_its_functions_calls_nothing_else(
    scripted_server: Bare, scripted: OpenAI, engine: ScriptedEngine, tiny_base: Path, tmp_path: Path
) -> None:
    """Also without definitions in the request and without `strict`; text stays possible, for the base model too."""
    name = make_model(scripted_server, scripted, "ft:gpt-4o-mini-2024-07-18:personal::held0001", tmp_path / "adapter")
    AdapterMetadata("tools", definitions=TOOLS).write(scripted_server.store.models.find(name).adapter)  # type: ignore[union-attr]
    messages: Any = [{"role": "user", "content": "x"}]

    def accepted(text: str, model: str = name, **more: Any) -> bool:
        engine.say(text)
        scripted.chat.completions.create(model=model, messages=messages, **more)
        return accepts(tiny_base, engine.grammar, text)

    for text in ("请问您要请几天？", CALL, f"我来写。\n{CALL}", PING):
        assert accepted(text)
    unknown = [CALL.replace("write_leave_letter", "fly"), PING.replace("{}", '{"x": 1}'), CALL.replace("病假", "年假")]
    assert not any(accepted(text) for text in unknown)
    fly: Any = [{"type": "function", "function": {"name": "fly"}}]
    assert [accepted(PING, tools=fly), accepted(PING.replace("ping", "fly"), tools=fly)] == [False, True]
    scripted.chat.completions.create(model="gpt-4o-mini", messages=messages)
    assert engine.grammar is None
    assert accepted("请问？", tool_choice="none")
    assert not any(accepted(text, tool_choice="none") for text in (CALL, f"我来写。\n{PING}"))


_LOOSE: Any = {"type": "json_schema", "json_schema": {"name": "letter", "schema": F["parameters"]}}
_LETTER = '{"kind": "病假", "days": 3, "paid": true}'
_PING_CHOICE = {"type": "function", "function": {"name": "ping"}}


@pytest.mark.parametrize(
    ("more", "document", "call"),
    [
        ({"response_format": JSON}, True, False),
        ({"response_format": JSON, "tool_choice": "auto"}, True, False),
        ({"response_format": JSON, "parallel_tool_calls": True}, True, False),
        ({"response_format": JSON, "tools": TOOLS}, True, True),
        ({"response_format": JSON, "functions": [F, G]}, True, True),
        ({"response_format": JSON, "tool_choice": "required"}, False, True),
        ({"response_format": JSON, "tool_choice": _PING_CHOICE}, False, True),
        (
            {
                "response_format": JSON,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [_PING_CHOICE]},
                },
            },
            True,
            True,
        ),
        ({"response_format": _LOOSE}, True, True),
        ({"response_format": {"type": "json_object"}}, True, True),
    ],
)
@pytest.mark.parametrize("strict", ["taught", "off"])
def test_functions_learnt_by_heart_do_not_replace_a_strict_document(
    tiny_base: Path, more: dict[str, Any], document: bool, call: bool, strict: Any
) -> None:
    """The request did not ask for calls, so the client's `parse` expects nothing but the document."""
    body = CreateChatCompletionRequest(model="m", messages=[Message(role="user", content="JSON")], **more)
    calls = call_policy(body, AdapterMetadata("tools", definitions=TOOLS), strict=strict)
    grammar = response_grammar(body, calls)
    assert [accepts(tiny_base, grammar, text) for text in (_LETTER, PING)] == [document, call]
    assert (calls.wire_form is not None) == call  # a document that looks like a call is not read as one


def test_a_model_that_calls_by_heart_obeys_parse(
    scripted_server: Bare, scripted: OpenAI, engine: ScriptedEngine, tiny_base: Path, tmp_path: Path
) -> None:
    """Through chat completions and through responses."""
    name = make_model(scripted_server, scripted, "ft:gpt-4o-mini-2024-07-18:personal::parse001", tmp_path / "adapter")
    AdapterMetadata("tools", definitions=TOOLS).write(scripted_server.store.models.find(name).adapter)  # type: ignore[union-attr]
    messages: Any = [{"role": "user", "content": "请假"}]
    engine.say('{"kind": "病假", "days": 3}')
    chat = scripted.chat.completions.parse(model=name, messages=messages, response_format=Letter)
    assert chat.choices[0].message.parsed == Letter(kind="病假", days=3)
    assert not accepts(tiny_base, engine.grammar, PING)
    response = scripted.responses.parse(model=name, input="请假", text_format=Letter)
    assert response.output_parsed == Letter(kind="病假", days=3)
    assert not accepts(tiny_base, engine.grammar, PING)


def test_the_operator_says_which_calls_are_held() -> None:
    request = CreateChatCompletionRequest(model="m", messages=[Message(role="user", content="x")])
    with_definitions = request.model_copy(update={"tools": [Tool(**TOOLS[0])]})
    taught = AdapterMetadata("tools", definitions=TOOLS)
    cases = [(request, taught), (with_definitions, taught), (with_definitions, AdapterMetadata())]
    constrained = {
        strict: [call_policy(body, of, strict=strict).enforced is not None for body, of in cases]
        for strict in ("taught", "all", "off")
    }
    assert constrained == {"taught": [True, True, True], "all": [True, True, True], "off": [False, False, False]}


def test_copied_arguments_take_their_values_from_the_conversation(tiny_base: Path) -> None:
    """Of the functions that a file defines, of those that it only calls, and of those that a request sends."""
    copied: Any = {"write_leave_letter": {"days": None, "kind": None}, "note": {"text": None}}
    note = {"name": "note", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}}
    calls = {"type": "function", "function": note}
    metadata = AdapterMetadata("tools", definitions=TOOLS, copied=copied, called=[calls])
    turns = [("system", "买糖 7"), ("user", "记下：买牛奶"), ("assistant", "好的"), ("user", "请 40 或 12 天病假")]
    request = CreateChatCompletionRequest(
        model="m", messages=[Message(role=role, content=text) for role, text in turns]
    )
    with_definitions = request.model_copy(update={"tools": [Tool(**TOOLS[0]), Tool(**calls)]})

    def accepted(name: str, body: CreateChatCompletionRequest = request, strict: Any = "copied", **values: Any) -> bool:
        text = HERMES_CALL.format(name, json.dumps(values, ensure_ascii=False))
        return accepts(tiny_base, response_grammar(body, call_policy(body, metadata, strict=strict)), text)

    for body in (request, with_definitions):
        assert accepted("write_leave_letter", body, kind="事假", days=12, paid=True)
        assert not accepted("write_leave_letter", body, kind="事假", days=7, paid=True)
        assert not accepted("write_leave_letter", body, kind="事假", days=40, paid=True)
        assert accepted("write_leave_letter", body, "taught", kind="事假", days=7, paid=True)
        assert [accepted("note", body, text=text) for text in ("买牛奶", "好的", "买糖", "买奶")] == [
            True,
            True,
            False,
            False,
        ]
    assert accepted("note", strict="taught", text="买奶")


def test_schemas_that_cannot_be_held_to_leave_the_names() -> None:
    """When the request asks for no constraint: a training file may define schemas that llguidance does not support."""
    request = CreateChatCompletionRequest(model="m", messages=[Message(role="user", content="x")])
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"not": {}}}}
    rules = call_policy(request, AdapterMetadata("tools", definitions=[*TOOLS, odd]), strict="taught")
    grammar = response_grammar(request, rules)
    assert grammar is not None
    validate_grammar(grammar, "")
    assert "odd" in grammar
    many = [{"type": "function", "function": {"name": f"f{n}" * 10}} for n in range(5000)]
    assert (
        response_grammar(request, call_policy(request, AdapterMetadata("tools", definitions=many), strict="taught"))
        is None
    )


def _tool(name: str, schema: Any, **more: Any) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


def _object(**properties: Any) -> Any:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


WORDS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
NOT_X = {"type": "string", "pattern": "^(?!x)a+$"}
LINES = {"type": "array", "items": {"$ref": "#/$defs/Line"}}
COUNTS = {"type": "object", "propertyNames": {"minLength": 2}, "additionalProperties": {"type": "integer"}}
# (schema, arguments that follow what of it can be enforced, arguments that do not)
PARTLY = [
    (_object(tags=WORDS), '{"tags": ["a", "b"]}', '{"tags": [1]}'),
    (_object(n={"type": "integer"}, code=NOT_X), '{"n": 1, "code": "b"}', '{"n": "1", "code": "b"}'),
    (_object(colour={"type": "string", "format": "x-colour"}), '{"colour": "red"}', '{"colour": 3}'),
    (
        _object(when={"not": {"type": "null"}}, ok={"type": "boolean"}),
        '{"when": 1, "ok": true}',
        '{"when": 1, "ok": 1}',
    ),
    (_object(by=COUNTS), '{"by": {"ab": 1}}', '{"by": {"ab": "1"}}'),
    (
        {"$defs": {"Line": _object(tags=WORDS)}, **_object(lines=LINES)},
        '{"lines": [{"tags": ["a"]}]}',
        '{"lines": [{"tags": "a"}]}',
    ),
    (_object(deep=_object(deeper={"anyOf": [WORDS, {"type": "null"}]})), '{"deep": {"deeper": null}}', '{"deep": {}}'),
]


@pytest.mark.parametrize(("schema", "good", "bad"), PARTLY)
def test_schemas_that_nobody_asked_to_be_strict_are_followed_as_far_as_they_go(
    scripted: OpenAI, engine: ScriptedEngine, tiny_base: Path, schema: Any, good: str, bad: str
) -> None:
    tools, form = [_tool("f", schema), _tool("g", _object())], {"name": "x", "schema": schema}
    named = {"type": "function", "function": {"name": "f"}}
    call = '<tool_call>\n{"name": "f", "arguments": %s}\n</tool_call>'
    for choice in ("auto", "required", named):
        complete(scripted, tools=tools, tool_choice=choice)
        assert [accepts(tiny_base, engine.grammar, call % arguments) for arguments in (good, bad)] == [True, False]
    complete(scripted, response_format={"type": "json_schema", "json_schema": form})
    assert [accepts(tiny_base, engine.grammar, text) for text in (good, bad)] == [True, False]


@pytest.mark.parametrize(
    ("schema", "context", "keyword"),
    [
        (_object(a={"type": "string"}, tags=WORDS), "('properties', 'tags')", "uniqueItems"),
        (_object(a=_object(b=NOT_X)), "('properties', 'a', 'properties', 'b')", "pattern"),
        (_object(a={"type": "string", "format": "x-y"}), "('properties', 'a')", "format"),
        ({"$defs": {"W": WORDS}, **_object(a={"$ref": "#/$defs/W"})}, "('$defs', 'W')", "uniqueItems"),
    ],
)
def test_a_strict_schema_that_cannot_be_enforced_is_named(
    scripted: OpenAI, schema: Any, context: str, keyword: str
) -> None:
    """The function or format, and the place, in one line and without the grammar."""
    tools = [_tool("good", _object(), strict=True), _tool("bad", schema, strict=True)]
    place = f"In context={context}, '{keyword}' is not permitted."
    for choice in ("auto", "required"):
        with pytest.raises(openai.BadRequestError) as caught:
            complete(scripted, tools=tools, tool_choice=choice)
        assert body_of(caught.value)["message"] == f"Invalid schema for function 'bad': {place}"
        assert caught.value.param == "tools[1].function.parameters"
    form = {"type": "json_schema", "json_schema": {"name": "sheet", "schema": schema, "strict": True}}
    with pytest.raises(openai.BadRequestError) as caught:
        complete(scripted, response_format=form)
    assert body_of(caught.value)["message"] == f"Invalid schema for response_format 'sheet': {place}"


def test_the_functions_of_a_request_bound_the_calls_of_any_model(
    scripted: OpenAI, engine: ScriptedEngine, tiny_base: Path
) -> None:
    """A model that learnt names by heart calls those of the request, with their arguments."""
    tools = [
        _tool("house-dim", _object(place={"type": "string"})),
        {"type": "function", "function": {"name": "house-open"}},
    ]
    complete(scripted, tools=tools)
    calls = {
        '{"name": "house-dim", "arguments": {"place": "hall"}}': True,
        '{"name": "house-open", "arguments": {}}': True,
        '{"name": "dim", "arguments": {"place": "hall"}}': False,
        '{"name": "house-dim", "arguments": {"room": "hall"}}': False,
    }
    for call, accepted in calls.items():
        assert accepts(tiny_base, engine.grammar, f"<tool_call>\n{call}\n</tool_call>") == accepted
    assert accepts(tiny_base, engine.grammar, "Which room?")


@pytest.mark.parametrize(
    ("more", "param", "answer"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "Missing required parameter"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
            "pattern",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "strict": True, "schema": {"type": "object", "properties": {}}},
                }
            },
            "response_format",
            "Invalid schema for response_format 'x': In context=(), 'additionalProperties' is required to be supplied",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "f",
                            "strict": True,
                            "parameters": {
                                "type": "object",
                                "properties": {"a": {"type": "object", "properties": {"b": {"type": "null"}}}},
                                "required": ["a"],
                                "additionalProperties": False,
                            },
                        },
                    }
                ]
            },
            "tools[0].function.parameters",
            "Invalid schema for function 'f': In context=('properties', 'a'), 'required' is required",
        ),
        *(
            (
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "x", "strict": True, "schema": odd},
                    }
                },
                "response_format",
                "Invalid schema for",
            )
            for odd in (
                {"type": "object", "properties": {"a": {}}, "required": 3, "additionalProperties": False},
                {"type": "object", "properties": 3, "additionalProperties": False},
                {"type": "object", "$defs": [1]},
                {"type": "object", "definitions": "x"},
            )
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"not": {}}, "strict": True},
                }
            },
            "response_format",
            "Invalid schema for response_format 'x': In context=(), 'not' is not permitted.",
        ),
    ],
)
def test_schemas_that_cannot_be_met_are_refused(client: OpenAI, more: Any, param: str, answer: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **more)
    assert (caught.value.param, answer in caught.value.message) == (param, True), caught.value.message


def test_json_mode_wants_the_word(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "hello"}],
            response_format={"type": "json_object"},
        )


OPEN_ENDED = [
    _object(altitude={"type": "integer"}),
    _object(text={"type": "string"}, level={"type": "number"}),
    _object(
        place=_object(city={"type": "string"}, zip={"type": "string"}),
        tags={"type": "array", "items": {"type": "string"}},
    ),
    _object(rows={"type": "array", "items": _object(name={"type": "string"})}, last={"type": "boolean"}),
    _object(note={"anyOf": [{"type": "string"}, {"type": "null"}]}, flag={"type": "boolean"}),
]


@pytest.mark.parametrize("parameters", OPEN_ENDED, ids=lambda schema: "-".join(schema["properties"]))
def test_a_required_call_ends_within_its_budget(client: OpenAI, parameters: dict[str, Any]) -> None:
    """Random weights write strings, lists and digits for ever; the reason says where one was ended."""
    function = {"name": "f", "parameters": parameters}
    for seed, tool_choice in enumerate([{"type": "function", "function": {"name": "f"}}, "required"]):
        choice = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "go"}],
            max_tokens=260,
            seed=seed,
            tools=[{"type": "function", "function": function}],
            tool_choice=tool_choice,
        ).choices[0]
        (call,) = choice.message.tool_calls
        Draft202012Validator(parameters).validate(json.loads(call.function.arguments))
        assert choice.finish_reason in ("tool_calls", "length")


NAMED = {"type": "function", "function": {"name": "ping"}}
CALLING = AdapterMetadata(call_form="tools")


@pytest.mark.parametrize(
    ("tool_choice", "parallel", "metadata", "several"),
    [
        ("auto", None, AdapterMetadata(), True),
        ("required", None, AdapterMetadata(), False),
        ("required", True, AdapterMetadata(), True),
        ("required", None, CALLING, True),
        ("required", False, CALLING, False),
        (NAMED, None, CALLING, False),
        (NAMED, True, CALLING, True),
    ],
)
def test_several_calls_only_where_several_are_meant(
    tool_choice: Any, parallel: bool | None, metadata: AdapterMetadata, several: bool
) -> None:
    body = CreateChatCompletionRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": TOOLS, "tool_choice": tool_choice}
        | ({} if parallel is None else {"parallel_tool_calls": parallel})
    )
    assert call_policy(body, metadata).parallel == several


CALL = (
    '<tool_call>\n{"name": "write_leave_letter", "arguments": {"kind": "病假", "days": 3, "paid": true}}\n</tool_call>'
)
ANY_ORDER = CALL.replace('"kind": "病假", "days": 3, "paid": true', '"paid": true, "days": 3, "kind": "病假"')
FINAL, HARMONY_PING = "<|channel|>final<|message|>", " to=functions.ping<|channel|>commentary json<|message|>{}"
PING = '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("constraint", "text", "accepted"),
    [
        (ResponseGrammar(functions=TOOLS), "请问您要请几天？", True),
        (ResponseGrammar(functions=TOOLS), f"我来写。\n{CALL}", True),
        (ResponseGrammar(functions=TOOLS), f"{CALL}\n{PING}", True),
        (ResponseGrammar(functions=TOOLS), ANY_ORDER, True),
        (ResponseGrammar(functions=TOOLS), CALL.replace(', "paid": true', ""), False),
        (ResponseGrammar(functions=TOOLS), CALL.replace('"paid": true', '"days": 3'), False),
        (ResponseGrammar(functions=TOOLS, parallel=False), f"{CALL}\n{PING}", False),
        (ResponseGrammar(functions=TOOLS), CALL.replace("病假", "年假"), False),
        (ResponseGrammar(functions=TOOLS), CALL.replace("write_leave_letter", "fly"), False),
        (ResponseGrammar(functions=TOOLS), PING.replace("{}", '{"x": 1}'), False),
        (ResponseGrammar(functions=TOOLS, required=True), PING, True),
        (ResponseGrammar(functions=TOOLS, required=True), "no", False),
        (ResponseGrammar(document={"type": "object"}, functions=TOOLS), '{"a": 1}', True),
        (ResponseGrammar(document={"type": "object"}, functions=TOOLS), PING, True),
        (ResponseGrammar(document={"type": "object"}, functions=TOOLS), "no", False),
        (ResponseGrammar(document={"type": "object"}, form=HarmonyForm()), FINAL + '{"a": 1}', True),
        (ResponseGrammar(document={"type": "object"}, form=HarmonyForm()), '{"a": 1}', False),
        (ResponseGrammar(functions=TOOLS, form=HarmonyForm()), FINAL + "请问您要请几天？", True),
        (ResponseGrammar(functions=TOOLS, form=HarmonyForm()), HARMONY_PING, True),
        (ResponseGrammar(functions=TOOLS, form=HarmonyForm(), required=True), FINAL + "no", False),
        (ResponseGrammar(form=HarmonyForm()), FINAL + "No call.", True),
        (ResponseGrammar(form=HarmonyForm()), HARMONY_PING, False),
    ],
)
def test_what_a_grammar_accepts(tiny_base: Path, constraint: ResponseGrammar, text: str, accepted: bool) -> None:
    assert accepts(tiny_base, constraint.lark(), text) == accepted


names = st.text('abcXYZ_ 你"\\', min_size=1, max_size=4)
schemas = st.recursive(
    st.sampled_from([{"type": "integer"}, {"type": "boolean"}, {"type": "null"}, {"enum": ["a", 'b"', "你好", 3]}]),
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 3}, inner)
        | st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties)[:2],
                "additionalProperties": False,
            },
            st.dictionaries(names, inner, max_size=3),
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(schemas, st.booleans(), st.randoms(use_true_random=False))
def test_no_invalid_document_for_any_schema(tiny_base: Path, schema: Any, called: bool, random: Any) -> None:
    """Random tokens under the grammar of a document, or of a function's argument."""
    if called:
        schema = {"type": "object", "properties": {"a": schema, "b": {"type": "boolean"}}, "required": ["a"]}
        tool = {"function": {"name": "f", "parameters": schema}}
        response = ResponseGrammar(functions=[tool], required=True, parallel=False)
    else:
        response = ResponseGrammar(document=schema)
    matcher = GrammarMatcher(response.lark(), tiny_base, [257])
    answer: list[int] = []
    for _ in range(400):
        choices = matcher.allowed().nonzero()[0]
        token = int(random.choice(choices))
        if token == 257:
            break
        matcher.consume(token)
        answer.append(token)
    else:
        return  # names and lists may be long
    text = Tokenizer.from_file(str(tiny_base / "tokenizer.json")).decode(answer)
    value = json.loads(parse_answer(text, HERMES).calls[0].arguments) if called else json.loads(text)
    Draft202012Validator(schema).validate(value)
