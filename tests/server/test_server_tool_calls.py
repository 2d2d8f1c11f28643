"""Function calls: requests, prompts, and calls in the response."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, body_of

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
F = {"name": "f", "description": "Looks.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
G = {"name": "g"}
TOOLS = [{"type": "function", "function": F}, {"type": "function", "function": G}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def complete(client: OpenAI, **params: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 500} | params)


def refused(client: OpenAI, **params: Any) -> dict[str, Any]:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **params)
    return body_of(caught.value)


def test_tools(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(CALL)
    choice = complete(scripted, tools=TOOLS, logprobs=True).choices[0]
    assert (choice.finish_reason, choice.message.content, choice.logprobs) == ("tool_calls", None, None)
    call = choice.message.tool_calls[0]
    assert call.id.startswith("call_")
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == ("function", "f", {"a": 1})
    assert '"name": "f"' in engine.prompts[0]
    assert '"name": "g"' in engine.prompts[0]


def test_answers_go_back_as_they_came(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """The usual loop: append the message, append the tool's result, and send again."""
    messages = list(HELLO)
    for answer, result in ((CALL, "tool"), ("Nothing more.", None)):
        engine.say(answer)
        message = complete(scripted, messages=messages, tools=TOOLS).choices[0].message
        messages.append(message)
        if result:
            messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "42"})
    engine.say("Bye.")
    messages.append({"role": "user", "content": "Thanks"})
    assert complete(scripted, messages=messages, tools=TOOLS).choices[0].message.content == "Bye."
    assert CALL in engine.prompts[-1]
    assert "Nothing more." in engine.prompts[-1]


def test_legacy_functions(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(CALL)
    choice = complete(scripted, functions=[F, G]).choices[0]
    assert choice.finish_reason == "function_call"
    assert (choice.message.function_call.name, choice.message.tool_calls) == ("f", None)


def test_text_beside_tools(scripted: OpenAI, engine: ScriptedEngine) -> None:
    for text in ("Just text. ", "<tool_call>{broken", '<tool_call>{"name": 1}</tool_call>', "  ", ""):
        engine.say(text)
        choice = complete(scripted, tools=TOOLS).choices[0]
        assert (choice.finish_reason, choice.message.content, choice.message.tool_calls) == ("stop", text, None)


def test_one_call_at_a_time(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(CALL + CALL)
    assert len(complete(scripted, tools=TOOLS).choices[0].message.tool_calls) == 2
    assert len(complete(scripted, tools=TOOLS, parallel_tool_calls=False).choices[0].message.tool_calls) == 1


def test_choice_none(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """The prompt has no definitions, and generated text is not parsed for calls."""
    engine.say(CALL)
    for params in ({"tools": TOOLS, "tool_choice": "none"}, {"functions": [F], "function_call": "none"}):
        choice = complete(scripted, **params).choices[0]
        assert (choice.message.content, choice.finish_reason) == (CALL, "stop")
    assert '"f"' not in "".join(engine.prompts)


@pytest.mark.parametrize(
    ("params", "param", "answer"),
    [
        ({"tool_choice": "auto"}, "tool_choice", "only allowed when 'tools' are specified"),
        ({"tool_choice": "required", "functions": [F]}, "tool_choice", "only allowed when 'tools' are specified"),
        ({"function_call": "auto", "tools": TOOLS}, "function_call", "only allowed when 'functions' are specified"),
        ({"functions": [F], "tools": TOOLS}, "functions", "cannot be sent together"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "h"}}}, "tool_choice", "'h'"),
        ({"functions": [F], "function_call": {"name": "h"}}, "function_call", "'h'"),
        ({"tools": TOOLS, "tool_choice": "bla"}, "tool_choice", "Supported values are: 'none', 'auto', and 'required'"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function", "Missing required parameter"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice.function", "Missing required parameter"),
        ({"functions": [], "function_call": "auto"}, "functions", "empty array"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "Missing required parameter"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "Supported values are: 'function'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "pattern"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name", "pattern"),
        ({"tools": {"type": "function"}}, "tools", "expected an array, but got an object"),
    ],
)
def test_refused(scripted: OpenAI, params: Any, param: str, answer: str) -> None:
    error = refused(scripted, **params)
    assert (error["param"], answer in str(error["message"])) == (param, True), error


def _answered(arguments: str) -> list[Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]


def test_calls_and_results_in_the_conversation(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("It is 42.")
    complete(scripted, messages=_answered('{"a": 1}'), tools=TOOLS)
    assert CALL in engine.prompts[0]
    assert "42" in engine.prompts[0]


@pytest.mark.parametrize(
    "arguments", ["{broken", "[1]", '"text"', '{"a": "\\ud800"}', '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_arguments_that_cannot_be_used(scripted: OpenAI, engine: ScriptedEngine, arguments: str) -> None:
    """Arguments are JSON in a string: their errors appear while rendering, and are still errors of the request."""
    engine.say("never")
    assert refused(scripted, messages=_answered(arguments), tools=TOOLS)["param"] == "messages"


@pytest.mark.parametrize(
    "arguments", ['{"a": "\\ud800 x"}', '{"\\udfff": 1}', '{"a": "😀"}', '{"a": 1e999}', '{"a": NaN}', "[" * 3000]
)
def test_odd_arguments_that_a_model_writes(scripted: OpenAI, engine: ScriptedEngine, arguments: str) -> None:
    engine.say(f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>')
    whole = complete(scripted, tools=TOOLS, max_tokens=3500).choices[0].message
    streamed = list(complete(scripted, tools=TOOLS, max_tokens=3500, stream=True))
    assert whole.tool_calls or whole.content
    assert streamed[-1].choices[0].finish_reason in ("stop", "tool_calls")


def test_a_model_that_was_taught_to_call(
    scripted_server: Bare, scripted: OpenAI, engine: ScriptedEngine, tmp_path: Path, tiny_base: Path
) -> None:
    """The model calls in the form of its training data, also without definitions in the request."""
    file = scripted.files.create(file=("x.jsonl", b"{}"), purpose="fine-tune")
    job = scripted.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    engine.say(CALL)
    forms = (("tools", "tool_calls"), ("functions", "function_call"), (None, "stop"))
    for step, (form, reason) in enumerate(forms):
        source = tmp_path / str(form)
        source.mkdir()
        (source / "chat_template.jinja").write_text((tiny_base / "chat_template.jinja").read_text())
        name = scripted_server.store.models.add_checkpoint(
            scripted_server.store.jobs.get(job.id),
            name=f"ft:tiny:personal::{form}",
            step=step,
            metrics={},
            source=source,
            call_form=form,
            event=None,
            keep=9,
        )
        assert complete(scripted, model=name).choices[0].finish_reason == reason
    forced = {"type": "function", "function": {"name": "anything"}}
    complete(scripted, model="ft:tiny:personal::tools", tool_choice=forced)
    assert engine.prompts[-1].endswith('{"name": "anything", "arguments":')
    # What a request defines wins over what was taught.
    assert complete(scripted, model="ft:tiny:personal::functions", tools=TOOLS).choices[0].finish_reason == "tool_calls"
