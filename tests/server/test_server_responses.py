"""The Responses API: created plain, streamed and in the background; items, stored turns, calls, structured outputs."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, until

from luthier.store import Store

LIGHT = {
    "type": "function",
    "name": "set_light",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}},
}
CALL = '<tool_call>\n{"name": "set_light", "arguments": {"on": true}}\n</tool_call>'
TWO_CALLS = f'{CALL}\n<tool_call>\n{{"name": "set_light", "arguments": {{"on": false}}}}\n</tool_call>'


def respond(client: OpenAI, input: Any = "hello", **params: Any) -> Any:
    return client.responses.create(**{"model": "gpt-4o-mini", "input": input} | params)


def refused(client: OpenAI, **params: Any) -> dict[str, object]:
    with pytest.raises(openai.APIStatusError) as caught:
        respond(client, **params)
    return {"status": caught.value.status_code, **body_of(caught.value)}


def events_of(client: OpenAI, input: Any = "hello", **params: Any) -> list[dict[str, Any]]:
    return [event.to_dict() for event in respond(client, input, stream=True, **params)]


def test_a_plain_answer(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day")
    response = respond(scripted, instructions="Be kind.", metadata={"a": "b"}, temperature=0.5, max_output_tokens=50)
    assert (response.output_text, response.status, response.object) == ("good day", "completed", "response")
    assert engine.prompts == [
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    ]
    assert (response.id[:5], response.output[0].id[:4]) == ("resp_", "msg_")
    assert (response.metadata, response.temperature, response.max_output_tokens) == ({"a": "b"}, 0.5, 50)
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens == usage.input_tokens + len("good day")
    assert response.completed_at >= response.created_at


@pytest.mark.parametrize("more", [{}, {"tools": True}, {"format": True}], ids=["text", "call", "structured"])
def test_it_is_what_a_chat_answers(client: OpenAI, more: dict[str, bool]) -> None:
    """On a real engine: the same prompt, the same grammar, the same tokens."""
    sampling: Any = {"model": "gpt-4o-mini", "temperature": 0}
    chat: Any = {"messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 40, **sampling}
    params: Any = {"input": "hello", "max_output_tokens": 40, **sampling}
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    if "tools" in more:
        params |= {"tools": [LIGHT], "tool_choice": "required"}
        function = {name: LIGHT[name] for name in ("name", "parameters")}
        chat |= {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    if "format" in more:
        params["text"] = {"format": {"type": "json_schema", "name": "light", "schema": schema}}
        chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "light", "schema": schema}}
    completion, response = client.chat.completions.create(**chat), client.responses.create(**params)
    message, usage = completion.choices[0].message, completion.usage
    assert response.output_text == (message.content or "")
    arguments = [item.arguments for item in response.output if item.type == "function_call"]
    assert arguments == [call.function.arguments for call in message.tool_calls or []]
    assert (response.usage.input_tokens, response.usage.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    final = events_of(client, **params)[-1]["response"]
    assert [_without_ids(item) for item in final["output"]] == [_without_ids(i) for i in response.to_dict()["output"]]


def _without_ids(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("id", "call_id")}


def test_it_is_stored_as_it_was_answered(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day")
    response = respond(scripted, [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}])
    assert scripted.responses.retrieve(response.id).to_dict() == response.to_dict()
    sent = scripted.responses.input_items.list(response.id, order="asc").data
    assert [item.content[0].text for item in sent] == ["one", "two"]
    assert [item.id for item in scripted.responses.input_items.list(response.id, limit=1).data] == [sent[1].id]
    assert [item.id for item in scripted.responses.input_items.list(response.id, after=sent[1].id)] == [sent[0].id]
    scripted.responses.delete(response.id)
    for call in (scripted.responses.retrieve, scripted.responses.delete, scripted.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(response.id)


def test_without_store_nothing_is_kept(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day")
    response = respond(scripted, store=False)
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        scripted.responses.retrieve(response.id)
    assert refused(scripted, previous_response_id=response.id)["code"] == "previous_response_not_found"
    assert refused(scripted, input=[{"id": response.output[0].id}])["status"] == 404


def test_a_conversation_over_two_turns(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("first", "second", "third")
    first = respond(scripted, "one", instructions="Only now.")
    second = respond(scripted, "two", previous_response_id=first.id)
    respond(scripted, "three", previous_response_id=second.id)
    turns = "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\nfirst<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n"
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"  # the template's own, as the first instructions are not kept
    assert engine.prompts[1] == f"{system}{turns}<|im_start|>assistant\n"
    tail = "<|im_start|>assistant\nsecond<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n"
    assert engine.prompts[2] == f"{system}{turns}{tail}"
    scripted.responses.delete(first.id)
    error = refused(scripted, previous_response_id=second.id)
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")


def test_a_call_its_result_and_the_answer(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(TWO_CALLS, "Both done.")
    first = respond(scripted, "on and off", tools=[LIGHT])
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"on": True}, {"on": False}]
    assert len({call.call_id for call in calls}) == 2
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "ok"} for call in calls]
    whole = respond(scripted, [{"role": "user", "content": "on and off"}, *first.output, *results], tools=[LIGHT])
    assert whole.output_text == "Both done."
    respond(scripted, results, previous_response_id=first.id, tools=[LIGHT])
    references = [{"type": "item_reference", "id": calls[0].id}, {"id": calls[1].id}]
    respond(scripted, [{"role": "user", "content": "on and off"}, *references, *results], tools=[LIGHT])
    assert len(set(engine.prompts[1:])) == 1
    assert engine.prompts[1].count("<|im_start|>assistant") == 2  # both calls are one turn


def test_a_call_and_its_result_come_together(scripted: OpenAI, engine: ScriptedEngine) -> None:
    """In OpenAI's words, which tell a client what it forgot."""
    engine.say(TWO_CALLS)
    first = respond(scripted, "on and off", tools=[LIGHT])
    calls = [item.call_id for item in first.output]
    results = [{"type": "function_call_output", "call_id": call, "output": "ok"} for call in calls]
    error = refused(scripted, input=results[:1], previous_response_id=first.id)
    assert (error["message"], error["param"]) == (f"No tool output found for function call {calls[1]}.", "input")
    error = refused(scripted, input=results)
    assert error["message"] == f"No tool call found for function call output with call_id {calls[0]}."
    engine.say("done")
    assert respond(scripted, [*results, MESSAGE], previous_response_id=first.id).output_text == "done"


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "name": "set_light"}],
    ids=["required", "named"],
)
def test_a_call_that_is_asked_for(scripted: OpenAI, engine: ScriptedEngine, choice: Any) -> None:
    engine.say(CALL)
    response = respond(scripted, tools=[LIGHT], tool_choice=choice)
    assert [item.type for item in response.output] == ["function_call"]
    assert engine.grammar
    assert "set_light" in engine.grammar
    assert response.to_dict()["tool_choice"] == choice


def test_only_the_allowed_functions(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say(CALL)
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "set_light"}]}
    respond(scripted, tools=[LIGHT, {**LIGHT, "name": "open_door"}], tool_choice=allowed)
    assert engine.grammar
    assert "set_light" in engine.grammar
    assert "open_door" not in engine.grammar


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_without_functions_changes_nothing(scripted: OpenAI, engine: ScriptedEngine, choice: Any) -> None:
    engine.say("good day")
    assert respond(scripted, tool_choice=choice).output_text == "good day"


def test_structured_output(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say('{"on": true}')
    schema = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    }
    text: Any = {"format": {"type": "json_schema", "name": "light", "strict": True, "schema": schema}}
    response = respond(scripted, text=text)
    assert json.loads(response.output_text) == {"on": True}
    assert engine.grammar
    assert '"on"' in engine.grammar
    assert response.to_dict()["text"]["format"] == text["format"]
    assert refused(scripted, text={"format": {"type": "json_object"}})["param"] == "input"
    assert respond(scripted, "as json", text={"format": {"type": "json_object"}}).status == "completed"


def test_logprobs_are_sent_where_they_are_asked_for(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("hey")
    include: Any = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    response = respond(scripted, include=include, top_logprobs=1)
    assert [entry.token for entry in response.output[0].content[0].logprobs] == list("hey")
    assert respond(scripted).output[0].content[0].logprobs == []
    deltas = [event["logprobs"] for event in events_of(scripted, include=include) if event["type"].endswith("delta")]
    assert [entry["token"] for delta in deltas for entry in delta] == list("hey")


_RETRIEVALS = [
    "/responses/{response}",
    "/responses/{response}/input_items",
    "/conversations/{conversation}/items",
    "/conversations/{conversation}/items/{item}",
]


@pytest.fixture(scope="module")
def retrieved(scripted: OpenAI, engine: ScriptedEngine) -> dict[str, str]:
    """The ids of a stored response, of its conversation and of one item."""
    engine.say("hey")
    conversation = scripted.conversations.create().id
    response = respond(scripted, conversation=conversation)
    return {"response": response.id, "conversation": conversation, "item": response.output[0].id}


@pytest.mark.parametrize("path", _RETRIEVALS)
def test_include_is_validated_where_items_are_retrieved(
    scripted_server: Bare, retrieved: dict[str, str], path: str
) -> None:
    """As at creation, and as `include[]`, which OpenAI's clients send; it adds nothing to what is stored."""
    with scripted_server.http() as http:
        plain = http.get(path.format(**retrieved))
        assert plain.status_code == 200
        for name in ("include", "include[]"):
            values = ["message.output_text.logprobs", "reasoning.encrypted_content"]
            answer = http.get(path.format(**retrieved), params={name: values})
            assert answer.json() == plain.json()
            for faulty in ("nope", ["reasoning.encrypted_content", "nope"]):
                refusal = http.get(path.format(**retrieved), params={name: faulty})
                error = refusal.json()["error"]
                assert (refusal.status_code, error["param"], error["code"]) == (400, name, "invalid_value")
                assert error["message"].startswith("Invalid value: 'nope'. Supported values are: 'file_search_call.")


def test_include_obfuscation_of_a_stored_response(scripted_server: Bare, retrieved: dict[str, str]) -> None:
    with scripted_server.http() as http:
        path = f"/responses/{retrieved['response']}"
        streams = [http.get(path, params={"stream": True, "include_obfuscation": value}) for value in (True, False)]
        assert streams[0].text == streams[1].text
        error = http.get(path, params={"include_obfuscation": "perhaps"}).json()["error"]
    assert (error["param"], error["code"]) == ("include_obfuscation", "invalid_type")


def test_the_client_sends_include(scripted: OpenAI, retrieved: dict[str, str]) -> None:
    include: Any = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert scripted.responses.retrieve(retrieved["response"], include=include).id == retrieved["response"]
    assert scripted.responses.input_items.list(retrieved["response"], include=include).data
    assert scripted.conversations.items.list(retrieved["conversation"], include=include).data
    items: Any = [{"type": "message", "role": "user", "content": "a"}]
    with pytest.raises(openai.BadRequestError):
        scripted.conversations.items.create(retrieved["conversation"], items=items, include=["nope"])  # type: ignore[list-item]


def test_an_answer_that_is_cut(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day")
    response = respond(scripted, max_output_tokens=4)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.output_text, response.output[0].status) == ("good", "incomplete")
    last = events_of(scripted, max_output_tokens=4)[-1]
    assert (last["type"], last["response"]["output"][0]["status"]) == ("response.incomplete", "incomplete")


def test_truncation_leaves_out_the_first_turns(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("ok")
    turns = [{"role": role, "content": f"{n} " + "x" * 500} for n in range(10) for role in ("user", "assistant")]
    long = [{"role": "developer", "content": "RULE"}, *turns, {"role": "user", "content": "last"}]
    assert refused(scripted, input=long)["code"] == "context_length_exceeded"
    assert respond(scripted, long, truncation="auto").status == "completed"
    assert "RULE" in engine.prompts[-1]
    assert "last" in engine.prompts[-1]
    assert "0 x" not in engine.prompts[-1]
    turns_left = engine.prompts[-1].count("<|im_start|>user")
    assert 3 <= turns_left < 11
    respond(scripted, "short", truncation="auto")
    huge = refused(scripted, input="y" * 5000, truncation="auto")
    assert (huge["code"], huge["param"]) == ("context_length_exceeded", "input")


def test_compaction_stands_for_what_was_sent(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("first", "second")
    first = respond(scripted, "one")
    compacted = scripted.responses.compact(model="gpt-4o-mini", previous_response_id=first.id, input="two")
    assert [item.type for item in compacted.output] == ["compaction"]
    respond(scripted, [compacted.output[0].to_dict(), {"role": "user", "content": "three"}])
    context = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "first"}]
    respond(scripted, [*context, {"role": "user", "content": "two"}, {"role": "user", "content": "three"}])
    assert engine.prompts[-1] == engine.prompts[-2]
    again = scripted.responses.compact(model="gpt-4o-mini", input=[compacted.output[0].to_dict()])
    scripted.responses.delete(first.id)
    respond(scripted, [again.output[0].to_dict(), {"role": "user", "content": "three"}])
    assert engine.prompts[-1] == engine.prompts[-2]
    assert refused(scripted, input=[{"type": "compaction", "encrypted_content": "cmp_unknown"}])["status"] == 404


def test_input_tokens_are_those_of_the_prompt(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("ok")
    request: Any = {"input": "hello", "instructions": "Be kind.", "tools": [LIGHT]}
    counted = scripted.responses.input_tokens.count(model="gpt-4o-mini", **request)
    assert counted.input_tokens == respond(scripted, **request).usage.input_tokens
    assert scripted.responses.input_tokens.count(model="gpt-4o-mini", input="y" * 5000).input_tokens > 5000


MESSAGE = {"role": "user", "content": "hello"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
    ({"tools": [{**LIGHT, "async": True}]}, "tools[0].async"),
    ({"tool_choice": {"type": "web_search_preview"}, "tools": [LIGHT]}, "tool_choice.type"),
    ({"tool_choice": {"type": "function", "name": "f"}, "tools": [LIGHT]}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    (
        {"text": {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": {"type": "object"}}}},
        "text.format",
    ),
    (
        {"tools": [{**LIGHT, "strict": True, "parameters": {"type": "object", "minProperties": 1}}]},
        "tools[0].parameters",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": []}]}, "input[0].content"),
    ({"input": [MESSAGE, {"type": "web_search_call", "id": "ws_1"}]}, "input[1].type"),
    ({"input": [MESSAGE, {"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[1].call_id"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"include": ["everything"]}, "include[0]"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"background": True, "store": False}, "store"),
    ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 10**9}, "input"),
    ({"frequency_penalty": 1}, "frequency_penalty"),
    ({"metadata": {"a": 1}}, "metadata.a"),
]


@pytest.mark.parametrize(("params", "param"), REFUSED, ids=[f"{i}-{param}" for i, (_, param) in enumerate(REFUSED)])
def test_what_cannot_be_here_is_named(scripted_server: Bare, params: dict[str, Any], param: str) -> None:
    body = {"model": "gpt-4o-mini", "input": "hello"} | params
    with scripted_server.http() as http:
        answer = http.post("/responses", json=body)
    error = answer.json()["error"]
    assert (answer.status_code in (400, 404), error["param"]) == (True, param), error
    assert "'messages'" not in error["message"]
    assert "'response_format'" not in error["message"]


# -- the background ---------------------------------------------------------------------------------------------------


def test_in_the_background(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day", pause_s=0.01)
    response = respond(scripted, background=True)
    assert (response.status, response.output, response.background) == ("queued", [], True)
    until(lambda: scripted.responses.retrieve(response.id).status == "completed")
    done = scripted.responses.retrieve(response.id)
    assert done.output_text == "good day"
    assert done.usage.output_tokens == 8
    assert scripted.responses.cancel(response.id).to_dict() == done.to_dict()


def test_a_stream_in_the_background_is_taken_up_again(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day to you all", pause_s=0.02)
    stream = respond(scripted, background=True, stream=True)
    first = [next(stream).to_dict() for _ in range(6)]
    stream.close()
    response_id = first[0]["response"]["id"]
    after = [e.to_dict() for e in scripted.responses.retrieve(response_id, stream=True, starting_after=5)]
    whole = [*first, *after]
    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert [event["type"] for event in whole[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "good day to you all"
    assert [e.to_dict() for e in scripted.responses.retrieve(response_id, stream=True)] == whole
    with pytest.raises(openai.BadRequestError):
        respond(scripted, previous_response_id=respond(scripted, background=True).id)


def test_cancelled_in_the_middle(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("word ", endless=True, pause_s=0.01)
    response = respond(scripted, background=True)
    until(lambda: scripted.responses.retrieve(response.id).status == "in_progress")
    cancelled = scripted.responses.cancel(response.id)
    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert scripted.responses.cancel(response.id).status == "cancelled"
    until(lambda: engine.under_way == 0)
    events = [event.to_dict() for event in scripted.responses.retrieve(response.id, stream=True)]
    assert events[-1]["response"]["status"] == "cancelled"
    running = respond(scripted, background=True)
    scripted.responses.delete(running.id)
    until(lambda: engine.under_way == 0)
    with pytest.raises(openai.BadRequestError):
        scripted.responses.cancel(respond(scripted, max_output_tokens=3).id)


def test_a_response_whose_server_died_has_failed(
    scripted: OpenAI, scripted_server: Bare, engine: ScriptedEngine
) -> None:
    engine.say("good day")
    response = respond(scripted, background=True)
    until(lambda: scripted.responses.retrieve(response.id).status == "completed")
    fields = scripted.responses.retrieve(response.id).to_dict() | {
        "id": "resp_left",
        "status": "in_progress",
        "output": [],
    }
    retention = scripted_server.app.state.luthier.within(None).retention
    scripted_server.store.responses.create(fields, [], retention)
    left = scripted.responses.retrieve("resp_left")
    assert (left.status, left.error.code) == ("failed", "server_error")


def test_a_server_that_stops_ends_what_runs(engine: ScriptedEngine, tiny_base: Path, tmp_path: Path) -> None:
    engine.say("word ", endless=True, pause_s=0.01)
    with bare_server(tmp_path, tiny_base, engine, queue_limit=1) as running:
        client = running.client()
        response = respond(client, background=True).id
        assert refused(client, background=True)["status"] == 429
        until(lambda: client.responses.retrieve(response).status == "in_progress")
    until(lambda: engine.under_way == 0)
    left = Store(tmp_path).responses.retrieve(response).response
    assert (left["status"], left["error"]["code"]) == ("failed", "server_error")


def test_the_end_of_one_in_the_background_is_announced(
    scripted: OpenAI, scripted_server: Bare, engine: ScriptedEngine
) -> None:
    engine.say("good day")
    webhooks, outbox = scripted_server.store.webhooks, scripted_server.store.outbox
    types: Any = ["response.completed", "response.incomplete", "response.cancelled"]
    endpoint = webhooks.create(name="test", url="http://127.0.0.1:9/", event_types=types).endpoint.id
    respond(scripted)
    whole, cut = respond(scripted, background=True).id, respond(scripted, background=True, max_output_tokens=2).id
    engine.say("word ", endless=True, pause_s=0.01)
    stopped = scripted.responses.cancel(respond(scripted, background=True).id).id
    until(lambda: len(outbox.list(endpoint, limit=9, after=None).data) == 3)
    messages = [message.body for message in outbox.list(endpoint, limit=9, after=None).data]
    announced = {message["data"]["id"]: message["type"] for message in messages}
    assert announced == dict(zip((whole, cut, stopped), types, strict=True))
    webhooks.delete(endpoint)


def test_a_client_that_leaves_ends_its_stream(scripted_server: Bare, engine: ScriptedEngine) -> None:
    engine.say("word ", endless=True, pause_s=0.01)
    with scripted_server.http() as http:
        body = {"model": "gpt-4o-mini", "input": "hello", "stream": True}
        with http.stream("POST", "/responses", json=body) as answer:
            next(answer.iter_lines())
    until(lambda: engine.under_way == 0)


def test_projects_see_their_own(a: OpenAI, b: OpenAI, everybody: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("good day")
    response = respond(a)
    item = response.output[0].id
    compaction = a.responses.compact(model="gpt-4o-mini", input="x").output[0].to_dict()
    for call in (b.responses.retrieve, b.responses.delete, b.responses.cancel, b.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            call(response.id)
    for params in ({"previous_response_id": response.id}, {"input": [{"id": item}]}, {"input": [compaction]}):
        assert refused(b, **params)["status"] == 404
    assert everybody.responses.retrieve(response.id).id == response.id
    assert respond(a, [{"id": item}, MESSAGE, compaction]).status == "completed"
