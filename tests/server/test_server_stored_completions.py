"""Chat completions with `store`: kept for their project, for a limited time."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of
from sqlalchemy import select

from luthier.store.stored_completions import stored_completions

HELLO: Any = [{"role": "user", "content": "hello"}]
RUNS = itertools.count()


@pytest.fixture
def run() -> str:
    """Metadata that no other test uses: the server is shared."""
    return str(next(RUNS))


def complete(client: OpenAI, **params: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "store": True} | params)


def test_what_is_stored_is_what_was_answered(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("good day")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = {"metadata": {"run": run}, "seed": 4, "temperature": 0.5, "user": "u", "tools": tools, "n": 2}
    response = complete(scripted, **request)
    stored = scripted.chat.completions.retrieve(response.id)
    assert stored.choices == response.choices
    assert (stored.id, stored.created, stored.model, stored.usage) == (
        response.id,
        response.created,
        response.model,
        response.usage,
    )
    assert stored.system_fingerprint == response.system_fingerprint
    shown_fields = stored.to_dict()
    assert (shown_fields["metadata"], shown_fields["seed"], shown_fields["temperature"], shown_fields["top_p"]) == (
        {"run": run},
        4,
        0.5,
        1.0,
    )
    assert (shown_fields["input_user"], shown_fields["tools"], shown_fields["tool_choice"]) == ("u", tools, None)
    assert shown_fields["request_id"] == response._request_id
    assert scripted.chat.completions.list(metadata={"run": run}).data == [stored]


def test_without_store_nothing_is_kept(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("hi")
    for params in ({"store": False}, {"store": None}):
        response = complete(scripted, metadata={"run": run}, **params)
        with pytest.raises(openai.NotFoundError):
            scripted.chat.completions.retrieve(response.id)
    assert scripted.chat.completions.list(metadata={"run": run}).data == []


def test_streamed_answers_are_kept_whole(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    engine.say("a long answer", call)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    chunks = list(
        complete(scripted, stream=True, n=2, tools=tools, logprobs=True, stream_options={"include_usage": True})
    )
    stored = scripted.chat.completions.retrieve(chunks[0].id)
    assert stored.choices[0].message.content == "a long answer"
    assert len(stored.choices[0].logprobs.content) == len(b"a long answer")
    assert stored.choices[1].message.tool_calls[0].function.arguments == '{"x": 1}'
    assert stored.usage == chunks[-1].usage
    engine.say("never ending ", endless=True, pause_s=0.001)
    with complete(scripted, stream=True, metadata={"run": run}) as stream:
        broken_off = next(iter(stream)).id
    with pytest.raises(openai.NotFoundError):
        scripted.chat.completions.retrieve(broken_off)


def test_list(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("x")
    odd = 'a"b.c$'
    ids = [complete(scripted, metadata={"run": run, odd: str(number % 2)}).id for number in range(5)]
    second = complete(scripted, metadata={"run": run}, model="gpt-4o").id
    listed = scripted.chat.completions.list

    def stored(**params: Any) -> list[str]:
        return [entry.id for entry in listed(metadata={"run": run} | params.pop("metadata", {}), **params)]

    assert stored() == stored(limit=2) == stored(order="asc") == [*ids, second]
    assert stored(order="desc", limit=4) == [second, *ids[::-1]]
    assert stored(model="gpt-4o-mini") == stored(model="gpt-4o-mini-2024-07-18") == ids
    assert stored(model="gpt-4.1") == []
    assert stored(metadata={odd: "1"}) == [ids[1], ids[3]]
    assert stored(after=ids[3], metadata={odd: "0"}) == [ids[4]]
    page = listed(metadata={"run": run}, limit=2)
    assert page.has_more
    assert (page.to_dict()["first_id"], page.to_dict()["last_id"]) == (ids[0], ids[1])
    empty = listed(metadata={"run": run}, limit=0)
    assert (empty.data, empty.has_more) == ([], False)


def test_update_and_delete(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("x")
    response = complete(scripted, metadata={"run": run, "old": "1"})
    changed = scripted.chat.completions.update(response.id, metadata={"run": run, "new": "2"})
    assert changed.to_dict()["metadata"] == {"run": run, "new": "2"}
    assert changed == scripted.chat.completions.retrieve(response.id)
    assert scripted.chat.completions.update(response.id, metadata=None).to_dict()["metadata"] == {}
    deleted = scripted.chat.completions.delete(response.id)
    assert deleted.to_dict() == {"id": response.id, "object": "chat.completion.deleted", "deleted": True}
    calls = scripted.chat.completions
    for call in (calls.retrieve, calls.delete, calls.messages.list, lambda id_: calls.update(id_, metadata={})):
        with pytest.raises(openai.NotFoundError) as caught:
            call(response.id)
        assert body_of(caught.value)["message"] == f"Chat completion with id '{response.id}' not found."


def test_a_list_goes_on_while_its_items_are_deleted(small: Bare, engine: ScriptedEngine) -> None:
    engine.say("x")
    client = small.client()
    ids = [complete(client).id for _ in range(3)]
    for entry in client.chat.completions.list(limit=1):
        client.chat.completions.delete(entry.id)
    assert client.chat.completions.list().data == []
    with small.store._database.read() as connection:
        assert [row["messages"] for row in connection.execute(select(stored_completions)).mappings()] == [[], [], []]
    fresh = [complete(client).id for _ in range(3)]
    client.chat.completions.delete(fresh[1])
    fresh.append(complete(client).id)  # what was deleted takes no place of what is kept
    assert [entry.id for entry in client.chat.completions.list()] == [fresh[0], *fresh[2:]]
    with small.store._database.read() as connection:
        assert set(connection.scalars(select(stored_completions.c.id))).isdisjoint([*ids, fresh[1]])


def test_messages(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("x")
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "name": "ann", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    response = complete(scripted, messages=messages)
    listed = scripted.chat.completions.messages.list
    stored = [message.to_dict() for message in listed(response.id)]
    assert [message["id"] for message in stored] == [f"{response.id}-{index}" for index in range(4)]
    assert [message["role"] for message in stored] == ["system", "user", "assistant", "tool"]
    assert [message["content"] for message in stored] == ["be brief", None, None, "done"]
    assert (stored[1]["content_parts"], stored[1]["name"], stored[0]["content_parts"]) == (parts, "ann", None)
    assert (stored[2]["tool_calls"], stored[3]["tool_call_id"]) == ([call], "call_1")
    assert [message.to_dict() for message in listed(response.id, limit=3)] == stored
    assert [message.to_dict() for message in listed(response.id, limit=3, order="desc")] == stored[::-1]
    assert [message.id for message in listed(response.id, after=stored[1]["id"], limit=1)] == [
        f"{response.id}-{n}" for n in (2, 3)
    ]
    with pytest.raises(openai.BadRequestError, match="'after'"):
        listed(response.id, after="unknown")


def test_they_are_their_projects(a: OpenAI, b: OpenAI, everybody: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("secret")
    response = complete(a)
    assert everybody.chat.completions.retrieve(response.id).choices == response.choices
    assert response.id in [entry.id for entry in a.chat.completions.list()]
    assert b.chat.completions.list().data == []
    calls = b.chat.completions
    for call in (calls.retrieve, calls.delete, calls.messages.list, lambda id_: calls.update(id_, metadata={})):
        with pytest.raises(openai.NotFoundError):
            call(response.id)
    assert a.chat.completions.retrieve(response.id)


@pytest.fixture
def small(tiny_base: Path, engine: ScriptedEngine, tmp_path: Path) -> Iterator[Bare]:
    with bare_server(tmp_path, tiny_base, engine, stored_completions=3, stored_days=2) as running:
        yield running


def test_they_do_not_stay_for_ever(small: Bare, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.say("x")
    client = small.client()
    ids = [complete(client).id for _ in range(5)]
    assert [entry.id for entry in client.chat.completions.list()] == ids[2:]
    now = client.chat.completions.retrieve(ids[4]).created
    monkeypatch.setattr("luthier.store.stored_completions.now", lambda: now + 2 * 24 * 3600 + 3605)
    assert client.chat.completions.list().data == []
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(ids[4])
    small.store.stored_completions.delete_expired()
    monkeypatch.undo()  # nothing of them is left, whatever the clock says
    assert client.chat.completions.list().data == []
    fresh = complete(client).id
    assert [entry.id for entry in client.chat.completions.list()] == [fresh]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "metadata", "missing_required_parameter"),
        ({"metadata": "x"}, "metadata", "invalid_type"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"metadata": {}, "model": "x"}, "model", "unknown_parameter"),
    ],
)
def test_update_refuses(scripted_server: Bare, body: Any, param: str, code: str) -> None:
    with scripted_server.http() as http:
        error = http.post("/chat/completions/chatcmpl-x", json=body).json()["error"]
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize("query", ["limit=-1", "order=ascending"])
def test_list_refuses(scripted_server: Bare, query: str) -> None:
    with httpx.Client(base_url=f"{scripted_server.url}/v1") as http:
        answer = http.get(f"/chat/completions?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
CALL_TEXT = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def export(client: OpenAI, **body: Any) -> Any:
    return client.post("/files/from_completions", body=body, cast_to=httpx.Response).json()


def test_stored_completions_become_a_training_file(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    turns: Any = [*HELLO, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "more"}]
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    pair = {"metadata": {"run": run}}
    engine.say("good day", "你好", CALL_TEXT, CALL_TEXT, "", "never ending")
    complete(scripted, **pair, messages=turns)
    complete(scripted, **pair, messages=parts)
    called = complete(scripted, **pair, tools=TOOLS)
    complete(scripted, **pair, functions=[TOOLS[0]["function"]])
    complete(scripted, **pair)
    complete(scripted, **pair, max_tokens=2)
    complete(scripted, **pair, model="gpt-4o")
    exported = export(scripted, **pair, model="gpt-4o-mini", filename="mine.jsonl")
    assert exported["skipped"] == {"empty": 1, "cut_off": 1}
    file = exported["file"]
    assert (exported["examples"], file["filename"], file["purpose"]) == (4, "mine.jsonl", "fine-tune")
    lines = scripted.files.content(file["id"]).text.splitlines()
    call = called.choices[0].message.tool_calls[0].to_dict()
    assert [json.loads(line) for line in lines] == [
        {
            "messages": [
                turns[0],
                {"role": "assistant", "content": "Yes?", "weight": 0},
                turns[2],
                {"role": "assistant", "content": "good day"},
            ]
        },
        {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "你好"}]},
        {"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}], "tools": TOOLS},
        {
            "messages": [*HELLO, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
            "functions": [TOOLS[0]["function"]],
        },
    ]


@pytest.mark.parametrize(
    ("body", "param"), [({"metadata": {"run": "none of this"}}, "metadata"), ({"filename": "../x.jsonl"}, "filename")]
)
def test_a_file_without_examples_is_refused(scripted: OpenAI, body: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        export(scripted, **body)
    assert refused.value.param == param
