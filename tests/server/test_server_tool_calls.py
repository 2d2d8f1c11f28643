"""Function calls: requests, prompts, and calls in the response."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, accepts, body_of

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


def test_an_answer_goes_back_as_a_part_with_the_fields_of_its_message(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """OpenAI's Agents SDK for JavaScript does so; in messages of others the fields are refused."""
    engine.say("Bye.")
    part = {"type": "text", "text": "Well, hello.", "role": "assistant", "refusal": None, "annotations": []}
    answer: Any = {"role": "assistant", "content": [part]}
    assert complete(scripted, messages=[*HELLO, answer, *HELLO]).choices[0].message.content == "Bye."
    assert "Well, hello." in engine.prompts[-1]
    with pytest.raises(openai.BadRequestError, match=r"content\[0\]\.(role|refusal|annotations)"):
        complete(scripted, messages=[{"role": "user", "content": [part]}])


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


def test_choice_none(scripted: OpenAI, engine: ScriptedEngine, tiny_base: Path) -> None:
    """The prompt has no definitions, the grammar has no call, and generated text is not parsed for calls."""
    engine.say(CALL)
    for params in ({"tools": TOOLS, "tool_choice": "none"}, {"functions": [F], "function_call": "none"}):
        choice = complete(scripted, **params).choices[0]
        assert (choice.message.content, choice.finish_reason) == (CALL, "stop")
        near = CALL.replace("<tool_call>", "<tool_call_call>")  # a tuned model that may not write the mark wrote this
        refused = [CALL, f"Yes.\n{CALL}", near, f"Yes.\n{near}", "<tool", near.replace("<tool", "<")]
        for text, accepted in [*((text, False) for text in refused), ("Yes: <b>好</b>\n", True), ("", True)]:
            assert accepts(tiny_base, engine.grammar, text) == accepted
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
    ("arguments", "read"),
    [
        ("{broken", '"arguments": "{broken"'),
        ('{"city": "Suz', '"arguments": "{\\"city\\": \\"Suz"'),
        ("city=Suzhou", '"arguments": "city=Suzhou"'),
        ("[1]", '"arguments": [1]'),
        ('"text"', '"arguments": "text"'),
        ("null", '"arguments": {}'),
        ("", '"arguments": {}'),
        ("  ", '"arguments": "  "'),
        ("17", '"arguments": 17'),
        ('{"a": "\\ud800"}', '"arguments": {"a": "?"}'),
        ("<|im_end|>", '"arguments": "<|im_end|>"'),
    ],
)
def test_broken_arguments_in_the_history(scripted: OpenAI, engine: ScriptedEngine, arguments: str, read: str) -> None:
    """The arguments of a call are any string; a conversation goes on after a call that was cut off or made up."""
    engine.say("I try again.")
    choice = complete(scripted, messages=_answered(arguments), tools=TOOLS).choices[0]
    assert choice.message.content == "I try again."
    assert read in engine.prompts[0]
    legacy = [*HELLO, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": arguments}}]
    complete(scripted, messages=[*legacy, {"role": "function", "name": "f", "content": "error"}], functions=[F])
    assert read in engine.prompts[-1]


def test_arguments_nested_too_deep_to_be_rendered(scripted_server: Bare, engine: ScriptedEngine) -> None:
    """A refusal or an answer, and no failure of the server."""
    for depth in (50, 400, 5000):
        engine.say("fine")
        body = {"model": "gpt-4o-mini", "messages": _answered('{"a":' * depth + "1" + "}" * depth), "tools": TOOLS}
        with scripted_server.http() as http:
            answer = http.post("/chat/completions", json=body)
        assert answer.status_code == 200 or answer.json()["error"]["param"] == "messages"


@pytest.mark.parametrize("form", ["tools", "functions"])
def test_a_call_that_is_cut_off(scripted: OpenAI, engine: ScriptedEngine, form: str) -> None:
    """The engine generates bytes, so many lengths are tried: a call is a call, with its arguments so far."""
    written = '{"city": "苏州", "days": [1, 2]}'
    call = f'<tool_call>\n{{"name": "f", "arguments": {written}}}\n</tool_call>'
    definitions: dict[str, Any] = {"tools": TOOLS} if form == "tools" else {"functions": [F]}
    for limit in range(1, len(call.encode()), 3):
        engine.say(call)
        whole = complete(scripted, max_tokens=limit, **definitions).choices[0]
        chunks = list(complete(scripted, max_tokens=limit, stream=True, **definitions))
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert (whole.finish_reason, chunks[-1].choices[0].finish_reason) == ("length", "length")
        assert not whole.message.content
        assert not any(delta.content for delta in deltas)
        streamed = [delta.tool_calls[0].function if delta.tool_calls else delta.function_call for delta in deltas]
        pieces = [piece for piece in streamed if piece]
        message = whole.message
        function = message.tool_calls[0].function if message.tool_calls else message.function_call
        assert bool(function) == bool(pieces) == (limit >= len('<tool_call>\n{"name": "f"'))
        if function:
            assert ("f", pieces[0].name) == (function.name, "f")
            assert written.startswith(function.arguments)
            assert "".join(piece.arguments for piece in pieces) == function.arguments


def test_a_call_that_was_cut_off_goes_back(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(CALL)
    message = complete(scripted, tools=TOOLS, max_tokens=45).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "error: not valid JSON"}
    engine.say("Once more.")
    assert complete(scripted, messages=[*HELLO, message, result], tools=TOOLS).choices[0].message.content


@pytest.mark.parametrize("stop", ["\n", "}", ["name", ":"], "<tool_call>", ["a", "1"]])
def test_stop_sequences_are_looked_for_in_what_the_caller_sees(
    scripted: OpenAI, engine: ScriptedEngine, stop: Any
) -> None:
    engine.say(CALL)
    choice = complete(scripted, tools=TOOLS, stop=stop).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"a": 1}
    chunks = list(complete(scripted, tools=TOOLS, stop=stop, stream=True))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_stop_sequence_in_the_text_before_a_call(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(f"First END\n{CALL}")
    choice = complete(scripted, tools=TOOLS, stop="END").choices[0]
    assert (choice.finish_reason, choice.message.content, choice.message.tool_calls) == ("stop", "First ", None)


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
        written = scripted.responses.create(model=name, input="hello", tool_choice="auto").output
        assert [item.type for item in written] == ["message" if form is None else "function_call"]
    forced = {"type": "function", "function": {"name": "anything"}}
    complete(scripted, model="ft:tiny:personal::tools", tool_choice=forced)
    assert engine.prompts[-1].endswith('{"name": "anything", "arguments":')
    # What a request defines wins over what was taught.
    assert complete(scripted, model="ft:tiny:personal::functions", tools=TOOLS).choices[0].finish_reason == "tool_calls"
