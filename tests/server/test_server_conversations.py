"""Conversations: items that responses are added to, and that outlive them."""

from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, until

HELLO: Any = {"role": "user", "content": "hello"}


def respond(client: OpenAI, input: Any, **params: Any) -> Any:
    return client.responses.create(**{"model": "gpt-4o-mini", "input": input} | params)


def texts(client: OpenAI, conversation: str) -> list[str]:
    items = client.conversations.items.list(conversation, order="asc", limit=100)
    return [item.to_dict()["content"][0]["text"] for item in items]


def test_a_conversation_and_its_metadata(scripted: OpenAI) -> None:
    created = scripted.conversations.create(metadata={"a": "b"}, items=[HELLO])
    assert (created.id[:5], created.object, created.metadata) == ("conv_", "conversation", {"a": "b"})
    assert scripted.conversations.retrieve(created.id) == created
    changed = scripted.conversations.update(created.id, metadata={"c": "d"})
    assert changed.to_dict() == {**created.to_dict(), "metadata": {"c": "d"}}
    assert scripted.conversations.delete(created.id).deleted
    for call in (scripted.conversations.retrieve, scripted.conversations.delete, scripted.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            call(created.id)


def test_its_items(scripted: OpenAI) -> None:
    conversation = scripted.conversations.create().id
    items = scripted.conversations.items
    added = items.create(conversation, items=[HELLO, {"role": "assistant", "content": "hi"}]).data
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    added += items.create(
        conversation, items=[call, {"type": "function_call_output", "call_id": "c", "output": "1"}]
    ).data
    assert [item.type for item in added] == ["message", "message", "function_call", "function_call_output"]
    assert [item.id for item in items.list(conversation, order="asc")] == [item.id for item in added]
    assert [item.id for item in items.list(conversation, limit=1)] == [
        item.id for item in added[::-1]
    ]  # by pages of one
    assert items.retrieve(added[2].id, conversation_id=conversation) == added[2]
    items.delete(added[2].id, conversation_id=conversation)
    with pytest.raises(openai.NotFoundError):
        items.retrieve(added[2].id, conversation_id=conversation)
    assert len(items.list(conversation).data) == 3


def test_responses_are_added(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("first", "second", "third")
    conversation_id = scripted.conversations.create(items=[{"role": "developer", "content": "RULE"}]).id
    first = respond(scripted, "one", conversation=conversation_id)
    assert first.conversation.id == conversation_id
    for event in respond(scripted, "two", conversation={"id": conversation_id}, stream=True):
        assert event.type != "error"
    last = respond(scripted, "three", conversation=conversation_id, store=False)
    assert texts(scripted, conversation_id) == ["RULE", "one", "first", "two", "second", "three", "third"]
    assert "RULE" in engine.prompts[2]
    assert engine.prompts[2].endswith("second<|im_end|>\n<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(openai.NotFoundError):
        scripted.responses.retrieve(last.id)
    items = scripted.responses.input_items.list(first.id).data
    assert [item.content[0].text for item in items] == ["one"]


def test_an_item_goes_with_the_last_that_holds_it(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("first", "second")
    conversation_id = scripted.conversations.create().id
    first = respond(scripted, "one", conversation=conversation_id)
    second = respond(scripted, "two", conversation=conversation_id)
    scripted.responses.delete(first.id)
    assert texts(scripted, conversation_id) == ["one", "first", "two", "second"]
    scripted.conversations.items.delete(second.output[0].id, conversation_id=conversation_id)
    assert scripted.responses.retrieve(second.id).output_text == "second"
    scripted.conversations.delete(conversation_id)
    assert scripted.responses.retrieve(second.id).output_text == "second"
    with pytest.raises(openai.NotFoundError):
        respond(scripted, [{"id": first.output[0].id}])


def test_a_cancelled_response_leaves_nothing(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("word ", endless=True, pause_s=0.01)
    conversation_id = scripted.conversations.create(items=[HELLO]).id
    running = respond(scripted, "more", conversation=conversation_id, background=True)
    until(lambda: scripted.responses.retrieve(running.id).status == "in_progress")
    scripted.responses.cancel(running.id)
    assert texts(scripted, conversation_id) == ["hello"]
    engine.say("done")
    finished = respond(scripted, "again", conversation=conversation_id, background=True)
    until(lambda: scripted.responses.retrieve(finished.id).status == "completed")
    assert texts(scripted, conversation_id) == ["hello", "again", "done"]


def test_a_conversation_deleted_meanwhile(scripted: OpenAI, engine: ScriptedEngine) -> None:
    engine.say("a long answer")
    engine.may_go_on.clear()
    conversation_id = scripted.conversations.create().id
    running = respond(scripted, "more", conversation=conversation_id, background=True)
    scripted.conversations.delete(conversation_id)
    engine.may_go_on.set()
    until(lambda: scripted.responses.retrieve(running.id).status == "failed")
    assert conversation_id in scripted.responses.retrieve(running.id).error.message


def test_limits(scripted: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum length 20"):
        scripted.conversations.create(items=[HELLO] * 21)
    conversation = scripted.conversations.create().id
    with pytest.raises(openai.BadRequestError, match="web_search_call"):
        scripted.conversations.items.create(conversation, items=[HELLO, {"type": "web_search_call"}])  # type: ignore[list-item]
    with pytest.raises(openai.BadRequestError, match="bytes to store"):
        scripted.conversations.items.create(conversation, items=[{"role": "user", "content": "x" * 5_000_000}])
    with pytest.raises(openai.BadRequestError, match="too many"):
        scripted.conversations.update(conversation, metadata={str(n): "" for n in range(17)})


def test_projects_see_their_own(a: OpenAI, b: OpenAI, engine: ScriptedEngine) -> None:
    conversation_id = a.conversations.create(items=[HELLO]).id
    item = a.conversations.items.list(conversation_id).data[0].id
    calls: list[Any] = [
        lambda: b.conversations.retrieve(conversation_id),
        lambda: b.conversations.delete(conversation_id),
        lambda: b.conversations.update(conversation_id, metadata={}),
        lambda: b.conversations.items.list(conversation_id),
        lambda: b.conversations.items.create(conversation_id, items=[HELLO]),
        lambda: b.conversations.items.retrieve(item, conversation_id=conversation_id),
        lambda: b.conversations.items.delete(item, conversation_id=conversation_id),
        lambda: respond(b, "more", conversation=conversation_id),
        lambda: respond(b, [{"id": item}]),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    engine.say("ok")
    assert respond(a, [{"id": item}]).output_text == "ok"


@pytest.fixture(scope="module")
def small(tiny_base: Any, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that keeps three of each."""
    with bare_server(tmp_path_factory.mktemp("small"), tiny_base, engine, stored_completions=3) as running:
        yield running


def test_the_oldest_are_deleted_first(small: Bare, engine: ScriptedEngine) -> None:
    engine.say("ok")
    client = small.client()
    conversations = [client.conversations.create(items=[HELLO]).id for _ in range(4)]
    response_ids = [client.responses.create(model="gpt-4o-mini", input="x").id for _ in range(4)]
    for call, oldest in (
        (client.conversations.retrieve, conversations[0]),
        (client.responses.retrieve, response_ids[0]),
    ):
        with pytest.raises(openai.NotFoundError):
            call(oldest)
    assert client.conversations.retrieve(conversations[1]).id == conversations[1]
    assert client.responses.retrieve(response_ids[1]).id == response_ids[1]
