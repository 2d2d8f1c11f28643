"""Chat completions asked for with `store`: there to be found again, for their project, for a while."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of
from sqlalchemy import select

from luthier.store.stored_completions import completions

HELLO: Any = [{"role": "user", "content": "hello"}]
RUNS = itertools.count()


@pytest.fixture
def run() -> str:
    """Metadata of a test's own: the server is shared."""
    return str(next(RUNS))


def ask(client: OpenAI, **given: Any) -> Any:
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": HELLO, "store": True} | given)


def test_what_is_stored_is_what_was_answered(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("good day")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    asked = {"metadata": {"run": run}, "seed": 4, "temperature": 0.5, "user": "u", "tools": tools, "n": 2}
    made = ask(scripted, **asked)
    found = scripted.chat.completions.retrieve(made.id)
    assert found.choices == made.choices
    assert (found.id, found.created, found.model, found.usage) == (made.id, made.created, made.model, made.usage)
    assert found.system_fingerprint == made.system_fingerprint
    told = found.to_dict()
    assert (told["metadata"], told["seed"], told["temperature"], told["top_p"]) == ({"run": run}, 4, 0.5, 1.0)
    assert (told["input_user"], told["tools"], told["tool_choice"]) == ("u", tools, None)
    assert told["request_id"] == made._request_id
    assert scripted.chat.completions.list(metadata={"run": run}).data == [found]


def test_without_store_nothing_is_kept(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("hi")
    for given in ({"store": False}, {"store": None}):
        made = ask(scripted, metadata={"run": run}, **given)
        with pytest.raises(openai.NotFoundError):
            scripted.chat.completions.retrieve(made.id)
    assert scripted.chat.completions.list(metadata={"run": run}).data == []


def test_streamed_answers_are_kept_whole(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    engine.say("a long answer", call)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    chunks = list(ask(scripted, stream=True, n=2, tools=tools, logprobs=True, stream_options={"include_usage": True}))
    found = scripted.chat.completions.retrieve(chunks[0].id)
    assert found.choices[0].message.content == "a long answer"
    assert len(found.choices[0].logprobs.content) == len(b"a long answer")
    assert found.choices[1].message.tool_calls[0].function.arguments == '{"x": 1}'
    assert found.usage == chunks[-1].usage
    engine.say("never ending ", endless=True, pause_s=0.001)
    with ask(scripted, stream=True, metadata={"run": run}) as stream:
        broken_off = next(iter(stream)).id
    with pytest.raises(openai.NotFoundError):
        scripted.chat.completions.retrieve(broken_off)


def test_list(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("x")
    odd = 'a"b.c$'
    ids = [ask(scripted, metadata={"run": run, odd: str(number % 2)}).id for number in range(5)]
    other = ask(scripted, metadata={"run": run}, model="gpt-4o").id
    listed = scripted.chat.completions.list

    def found(**given: Any) -> list[str]:
        return [one.id for one in listed(metadata={"run": run} | given.pop("metadata", {}), **given)]

    assert found() == found(limit=2) == found(order="asc") == [*ids, other]
    assert found(order="desc", limit=4) == [other, *ids[::-1]]
    assert found(model="gpt-4o-mini") == found(model="gpt-4o-mini-2024-07-18") == ids
    assert found(model="gpt-4.1") == []
    assert found(metadata={odd: "1"}) == [ids[1], ids[3]]
    assert found(after=ids[3], metadata={odd: "0"}) == [ids[4]]
    assert found(after="chatcmpl-unknown") == []
    page = listed(metadata={"run": run}, limit=2)
    assert page.has_more
    assert (page.to_dict()["first_id"], page.to_dict()["last_id"]) == (ids[0], ids[1])
    assert listed(metadata={"run": run}, limit=0).data == []


def test_update_and_delete(scripted: OpenAI, engine: ScriptedEngine, run: str) -> None:
    engine.say("x")
    made = ask(scripted, metadata={"run": run, "old": "1"})
    changed = scripted.chat.completions.update(made.id, metadata={"run": run, "new": "2"})
    assert changed.to_dict()["metadata"] == {"run": run, "new": "2"}
    assert changed == scripted.chat.completions.retrieve(made.id)
    assert scripted.chat.completions.update(made.id, metadata=None).to_dict()["metadata"] == {}
    deleted = scripted.chat.completions.delete(made.id)
    assert deleted.to_dict() == {"id": made.id, "object": "chat.completion.deleted", "deleted": True}
    calls = scripted.chat.completions
    for call in (calls.retrieve, calls.delete, calls.messages.list, lambda id_: calls.update(id_, metadata={})):
        with pytest.raises(openai.NotFoundError) as caught:
            call(made.id)
        assert body_of(caught.value)["message"] == f"Chat completion with id '{made.id}' not found."


def test_a_list_goes_on_while_its_items_are_deleted(small: Bare, engine: ScriptedEngine) -> None:
    engine.say("x")
    client = small.client()
    ids = [ask(client).id for _ in range(3)]
    for one in client.chat.completions.list(limit=1):
        client.chat.completions.delete(one.id)
    assert client.chat.completions.list().data == []
    with small.store._database.read() as connection:
        assert [row["messages"] for row in connection.execute(select(completions)).mappings()] == [[], [], []]
    fresh = [ask(client).id for _ in range(3)]
    client.chat.completions.delete(fresh[1])
    fresh.append(ask(client).id)  # what was deleted takes no place of what is kept
    assert [one.id for one in client.chat.completions.list()] == [fresh[0], *fresh[2:]]
    with small.store._database.read() as connection:
        assert set(connection.scalars(select(completions.c.id))).isdisjoint([*ids, fresh[1]])


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
    made = ask(scripted, messages=messages)
    listed = scripted.chat.completions.messages.list
    found = [message.to_dict() for message in listed(made.id)]
    assert [message["id"] for message in found] == [f"{made.id}-{place}" for place in range(4)]
    assert [message["role"] for message in found] == ["system", "user", "assistant", "tool"]
    assert [message["content"] for message in found] == ["be brief", None, None, "done"]
    assert (found[1]["content_parts"], found[1]["name"], found[0]["content_parts"]) == (parts, "ann", None)
    assert (found[2]["tool_calls"], found[3]["tool_call_id"]) == ([call], "call_1")
    assert [message.to_dict() for message in listed(made.id, limit=3)] == found
    assert [message.to_dict() for message in listed(made.id, limit=3, order="desc")] == found[::-1]
    assert [message.id for message in listed(made.id, after=found[1]["id"], limit=1)] == [
        f"{made.id}-{n}" for n in (2, 3)
    ]
    assert listed(made.id, after="unknown").data == []


def test_they_are_their_projects(a: OpenAI, b: OpenAI, everybody: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("secret")
    made = ask(a)
    assert everybody.chat.completions.retrieve(made.id).choices == made.choices
    assert made.id in [one.id for one in a.chat.completions.list()]
    assert b.chat.completions.list().data == []
    calls = b.chat.completions
    for call in (calls.retrieve, calls.delete, calls.messages.list, lambda id_: calls.update(id_, metadata={})):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    assert a.chat.completions.retrieve(made.id)


@pytest.fixture
def small(tiny_base: Path, engine: ScriptedEngine, tmp_path: Path) -> Iterator[Bare]:
    with bare_server(tmp_path, tiny_base, engine, stored_completions=3, stored_days=2) as running:
        yield running


def test_they_do_not_stay_for_ever(small: Bare, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.say("x")
    client = small.client()
    ids = [ask(client).id for _ in range(5)]
    assert [one.id for one in client.chat.completions.list()] == ids[2:]
    now = client.chat.completions.retrieve(ids[4]).created
    monkeypatch.setattr("luthier.store.stored_completions.now", lambda: now + 2 * 24 * 3600 + 5)
    assert client.chat.completions.list().data == []
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(ids[4])
    small.store.completions.delete_expired()
    monkeypatch.undo()  # nothing of them is left, whatever the clock says
    assert client.chat.completions.list().data == []
    fresh = ask(client).id
    assert [one.id for one in client.chat.completions.list()] == [fresh]


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
