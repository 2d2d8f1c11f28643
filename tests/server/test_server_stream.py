"""Chat completions as server-sent events."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel
from serving import Bare, ScriptedEngine, until

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
END = {"256": -100, "257": -100}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def complete(client: OpenAI, **params: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 40} | params)


def joined(chunks: list[Any], index: int = 0) -> tuple[str, str | None, list[Any]]:
    """(text, finish reason, log-probabilities) of a choice"""
    mine = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    tokens = [token for choice in mine if choice.logprobs for token in choice.logprobs.content]
    return "".join(choice.delta.content or "" for choice in mine), mine[-1].finish_reason, tokens


def lines(http: httpx.Client, **params: Any) -> list[str]:
    body = {"model": "gpt-4o-mini", "messages": HELLO, "stream": True, **params}
    answer = http.post("/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-cache")
    assert answer.text.endswith("\n\n")
    return answer.text.removesuffix("\n\n").split("\n\n")


@pytest.mark.parametrize("seed", range(4))
def test_streamed_is_whole(client: OpenAI, seed: int) -> None:
    """Random bytes produce every kind of invalid UTF-8."""
    params: dict[str, Any] = {
        "seed": seed,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["a", "\n"],
        "temperature": 1.3,
    }
    whole = complete(client, **params)
    chunks = list(complete(client, stream=True, stream_options={"include_usage": True}, **params))
    for choice in whole.choices:
        text, reason, tokens = joined(chunks, choice.index)
        assert (text, reason) == (choice.message.content, choice.finish_reason)
        assert [token.bytes for token in tokens] == [token.bytes for token in choice.logprobs.content]
        # What shares a pass differs from time to time, and with it the last digits (of bfloat16, where that is used).
        likely = [token.logprob for token in choice.logprobs.content]
        assert [token.logprob for token in tokens] == pytest.approx(likely, abs=0.1)
    details = {"prompt_tokens_details"}  # the second time the prompt has been read before
    assert chunks[-1].usage.model_dump(exclude=details) == whole.usage.model_dump(exclude=details)


def test_shape_and_order(scripted_server: Bare, engine: ScriptedEngine) -> None:
    engine.say("Hi!")
    with scripted_server.http() as http:
        events = lines(http)
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["system_fingerprint"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert not any("usage" in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "H"},
        {"content": "i"},
        {"content": "!"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, None, "stop"]


def test_an_empty_answer(scripted_server: Bare, engine: ScriptedEngine) -> None:
    engine.say("")
    with scripted_server.http() as http:
        events = lines(http)
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    assert deltas == [{"role": "assistant", "content": "", "refusal": None}, {}]


def test_usage_comes_last_when_asked_for(client: OpenAI) -> None:
    params = {"max_tokens": 4, "logit_bias": END, "stream": True}
    chunks = list(complete(client, stream_options={"include_usage": True}, **params))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert all(len(chunk.choices) == 1 for chunk in chunks[:-1])
    assert list(complete(client, stream_options={}, **params))[-1].usage is None


def test_text_is_sent_as_it_comes(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """The first chunk arrives while the engine still generates."""
    engine.say("abc", endless=True, pause_s=0.01)
    stream = complete(scripted, stream=True, max_tokens=4000)
    received = [next(stream).choices[0].delta.content for _ in range(4)]
    assert received == ["", "a", "b", "c"]
    assert engine.under_way == 1
    stream.close()


def test_choices_come_side_by_side(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("a", endless=True, pause_s=0.005)
    chunks = list(complete(scripted, stream=True, n=3, max_tokens=200))
    order = [chunk.choices[0].index for chunk in chunks]
    assert max(order.index(index) for index in range(3)) < min(
        len(order) - 1 - order[::-1].index(index) for index in range(3)
    )
    assert [joined(chunks, index) for index in range(3)] == [("a" * 200, "length", [])] * 3
    for index in range(3):
        first = next(chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index)
        assert first.delta.role == "assistant"


@pytest.mark.parametrize("stop", ["wor", ["o, w", "zzz"], "!"])
def test_stop_sequences_never_show(scripted: OpenAI, engine: ScriptedEngine, stop: Any) -> None:
    engine.say("Hello, world!")
    whole = complete(scripted, stop=stop)
    chunks = list(complete(scripted, stop=stop, stream=True, stream_options={"include_usage": True}))
    assert joined(chunks)[:2] == (whole.choices[0].message.content, "stop")
    details = {"prompt_tokens_details"}  # the second time the prompt has been read before
    assert chunks[-1].usage.model_dump(exclude=details) == whole.usage.model_dump(exclude=details)


def test_the_clients_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="gpt-4o-mini", messages=HELLO, max_tokens=8, seed=2, logit_bias=END, logprobs=True
    ) as stream:
        kinds = [event.type for event in stream]
    assert {"content.delta", "logprobs.content.delta"} <= set(kinds)
    final = stream.current_completion_snapshot.choices[0]
    same = complete(client, max_tokens=8, seed=2, logit_bias=END, logprobs=True).choices[0]
    assert (final.message.content, final.finish_reason) == (same.message.content, "length")


def test_one_call(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('<tool_call>\n{"name": "f", "arguments": {"city": "苏州"}}\n</tool_call>')
    chunks = list(complete(scripted, stream=True, tools=[TOOL], max_tokens=500))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content) == ("assistant", None)
    opening = deltas[0].tool_calls[0]
    assert opening.id.startswith("call_")
    assert (opening.index, opening.type) == (0, "function")
    assert (opening.function.name, opening.function.arguments) == ("f", "")
    pieces = [call for delta in deltas[1:] for call in delta.tool_calls or []]
    assert json.loads("".join(piece.function.arguments for piece in pieces)) == {"city": "苏州"}
    assert {(piece.index, piece.id, piece.function.name) for piece in pieces} == {(0, None, None)}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_text_and_parallel_calls_through_the_helper(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(
        'I look.\n<tool_call>\n{"name": "f", "arguments": {"n": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "f", "arguments": {"n": 2}}\n</tool_call>'
    )
    with scripted.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=[TOOL]) as stream:
        message = stream.get_final_completion().choices[0].message
    whole = complete(scripted, tools=[TOOL], max_tokens=500).choices[0].message
    for entry in (message, whole):
        assert entry.content == "I look."
        assert [json.loads(call.function.arguments) for call in entry.tool_calls] == [{"n": 1}, {"n": 2}]
    chunks = list(complete(scripted, stream=True, tools=[TOOL], max_tokens=500))
    indices = [call.index for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert (indices == sorted(indices), set(indices)) == (True, {0, 1})


def test_parallel_calls_without_text(scripted: OpenAI, engine: ScriptedEngine) -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    engine.say(call + call)
    deltas = [chunk.choices[0].delta for chunk in complete(scripted, stream=True, tools=[TOOL], max_tokens=500)]
    assert (deltas[0].role, deltas[0].content) == ("assistant", None)
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [(call.index, call.function.name) for call in calls if call.id] == [(0, "f"), (1, "f")]
    assert ["".join(call.function.arguments for call in calls if call.index == index) for index in (0, 1)] == ["{}"] * 2


def test_a_legacy_call(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>')
    chunks = list(complete(scripted, stream=True, functions=[TOOL["function"]], max_tokens=500))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].function_call.name, deltas[0].function_call.arguments) == ("f", "")
    pieces = [delta.function_call for delta in deltas[1:] if delta.function_call]
    assert "".join(piece.arguments for piece in pieces) == '{"a": 1}'
    assert {piece.name for piece in pieces} == {None}
    assert chunks[-1].choices[0].finish_reason == "function_call"


@pytest.mark.parametrize("form", ["tool_calls", "function_call"])
def test_a_long_call_is_streamed_as_it_is_written(scripted: OpenAI, engine: ScriptedEngine, form: str) -> None:
    """The time-outs of clients and proxies see a call that takes minutes to write."""
    definitions: dict[str, Any] = {"tools": [TOOL]} if form == "tool_calls" else {"functions": [TOOL["function"]]}
    engine.say('I do.\n<tool_call>\n{"name": "f", "arguments": {"text": "once ', endless=True, pause_s=0.01)
    stream = complete(scripted, stream=True, max_tokens=3000, **definitions)
    pieces: list[Any] = []
    for chunk in stream:
        call = getattr(chunk.choices[0].delta, form)
        if call:
            pieces.append(call[0].function if form == "tool_calls" else call)
        if len(pieces) == 30:
            break
    assert engine.under_way == 1
    assert [piece.name for piece in pieces] == ["f"] + [None] * 29
    assert "".join(piece.arguments for piece in pieces) == '{"text": "once ' + " " * 14
    stream.close()


CALL = '<tool_call>{"name": "f", "arguments": {"n": 1}}</tool_call>'
KINDS = {
    "text": ("Hi!", {}),
    "call": (CALL, {"tools": [TOOL]}),
    "parallel calls": (CALL + CALL, {"tools": [TOOL]}),
    "text and calls": (f"Look:\n{CALL}", {"tools": [TOOL]}),
    "legacy call": (CALL, {"functions": [TOOL["function"]]}),
    "choices": ("Hi!", {"n": 3}),
    "choices that call": (CALL, {"tools": [TOOL], "n": 2}),
    "log-probabilities": ("Hi!", {"logprobs": True, "top_logprobs": 1}),
    "usage": ("Hi!", {"stream_options": {"include_usage": True}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_stream_in_strict_mode(scripted_server: Bare, engine: ScriptedEngine, kind: str) -> None:
    """The client validates each chunk; the concatenated chunks equal the complete response."""
    answer, params = KINDS[kind]
    engine.say(answer)
    strict = scripted_server.client(_strict_response_validation=True)
    chunks = list(complete(strict, stream=True, max_tokens=500, **params))
    params = {key: value for key, value in params.items() if key != "stream_options"}
    for choice in complete(strict, max_tokens=500, **params).choices:
        mine = [entry for chunk in chunks for entry in chunk.choices if entry.index == choice.index]
        assert [entry.delta.role for entry in mine] == ["assistant"] + [None] * (len(mine) - 1)
        assert [entry.finish_reason for entry in mine] == [None] * (len(mine) - 1) + [choice.finish_reason]
        assert joined(chunks, choice.index)[0] == (choice.message.content or "")
        called = [call for entry in mine for call in entry.delta.tool_calls or []]
        for index, whole in enumerate(choice.message.tool_calls or []):
            pieces = [call for call in called if call.index == index]
            assert [piece.id is None for piece in pieces] == [False] + [True] * (len(pieces) - 1)
            assert "".join(piece.function.arguments for piece in pieces) == whole.function.arguments


class F(BaseModel):
    """A function definition for the client's helpers."""

    n: int


def test_the_helpers_parse_calls(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('<tool_call>{"name": "F", "arguments": {"n": 1}}</tool_call>')
    params: Any = {"model": "gpt-4o", "messages": HELLO, "tools": [openai.pydantic_function_tool(F)]}
    parsed = scripted.chat.completions.parse(**params).choices[0].message
    with scripted.chat.completions.stream(**params) as stream:
        kinds = [event.type for event in stream]
    streamed = stream.get_final_completion().choices[0].message
    for message in (parsed, streamed):
        assert message.tool_calls[0].function.parsed_arguments == F(n=1)
    assert kinds[-1] == "tool_calls.function.arguments.done"


class Lamp(BaseModel):
    on: bool


def test_the_helpers_parse_forms(client: OpenAI) -> None:
    """A schema for which every constrained output is valid."""
    params: Any = {"model": "gpt-4o", "messages": HELLO, "response_format": Lamp, "seed": 1, "max_tokens": 200}
    parsed = client.chat.completions.parse(**params).choices[0].message.parsed
    with client.chat.completions.stream(**params) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Lamp)
    assert streamed == parsed


def test_refusals_come_before_the_stream(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        complete(client, stream=True, temperature=3)
    with pytest.raises(openai.BadRequestError):
        complete(client, stream=True, max_tokens=500_000)


def test_an_error_in_mid_stream(
    scripted: OpenAI, scripted_server: Bare, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the status is sent, an error is an event that clients raise."""
    engine.say("fine until here")

    def broken(token: int) -> bytes:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("luthier.data.rendering.renderer.Renderer.token_bytes", lambda self, token: broken(token))
    with pytest.raises(openai.APIError, match="The server had an error"):
        list(complete(scripted, stream=True, logprobs=True))
    with pytest.raises(openai.InternalServerError) as caught:
        complete(scripted, logprobs=True)
    assert caught.value.request_id
    assert "memory" not in caught.value.response.text
    until(lambda: engine.under_way == 0)
