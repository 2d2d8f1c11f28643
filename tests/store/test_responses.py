"""Stored responses, conversations and their items: how long they stay, what they build on, and the limits of both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from luthier.store import Retention, Store
from luthier.store.response_items import Item, items
from luthier.store.responses import responses
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.ids import new_id
from luthier.types.responses import MAX_INPUT_ITEMS

LONG = Retention(days=30, max_rows=10_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def item(text: str) -> Item:
    return {"id": new_id("msg_"), "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def keep(
    store: Store, name: str, *, sent: int = 1, previous: str | None = None, retention: Retention = LONG, **more: Any
) -> str:
    response = {"id": name, "status": "completed", "created_at": now(), "previous_response_id": previous, **more}
    written = {"output": [item(f"{name} answers")]}
    store.responses.create({**response, **written}, [item(f"{name} {n}") for n in range(sent)], retention)
    return name


def texts(context: list[Item]) -> list[str]:
    return [entry["content"][0]["text"] for entry in context]


def count(store: Store) -> int:
    with store._database.read() as connection:
        return connection.scalar(select(func.count()).select_from(items)) or 0


def test_a_chain_is_read_from_its_first_turn(store: Store) -> None:
    keep(store, "b", previous=keep(store, "a"))
    keep(store, "c", previous="b", sent=2)
    expected = ["a 0", "a answers", "b 0", "b answers", "c 0", "c 1", "c answers"]
    assert texts(store.responses.context("c")) == expected
    store.responses.delete("b")
    with pytest.raises(NotFoundError, match="The response 'c' builds on it"):
        store.responses.context("c")
    assert count(store) == 5


def test_what_has_expired_is_gone(store: Store) -> None:
    keep(store, "b", previous=keep(store, "a"))
    with store._database.write() as connection:
        connection.execute(update(responses).where(responses.c.id == "a").values(expires_at=now()))
    for read in (store.responses.retrieve, store.responses.context, store.responses.delete):
        with pytest.raises(NotFoundError):
            read("a")
    store.delete_expired()
    assert count(store) == 2
    with pytest.raises(NotFoundError, match="no longer kept"):
        store.responses.context("b")


def test_the_oldest_go_first(store: Store) -> None:
    for name in "abcd":
        keep(store, name, retention=Retention(days=30, max_rows=2))
    assert store.responses.retrieve("c").response["id"] == "c"
    with pytest.raises(NotFoundError):
        store.responses.retrieve("b")
    assert count(store) == 4


def test_a_chain_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.store.responses._MAX_DEPTH", 3)
    previous = None
    for name in "abc":
        previous = keep(store, name, previous=previous)
    assert len(store.responses.context("c")) == 6
    keep(store, "d", previous="c")
    with pytest.raises(BadRequestError, match="more than 3 responses"):
        store.responses.context("d")


def test_a_context_has_a_length(store: Store) -> None:
    keep(store, "b", previous=keep(store, "a", sent=MAX_INPUT_ITEMS - 3))
    assert len(store.responses.context("b")) == MAX_INPUT_ITEMS
    keep(store, "c", previous="b")
    with pytest.raises(BadRequestError, match="more than 2,048 items"):
        store.responses.context("c")


def test_bytes_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.store.response_items.MAX_CONTEXT_BYTES", 1000)
    conversation = store.conversations.create({}, [item("x" * 600)], max_rows=3).id
    with pytest.raises(BadRequestError, match="would have more than 1,000 bytes"):
        store.conversations.add(conversation, [item("y" * 600)])
    keep(store, "b", previous=keep(store, "a" * 200))
    assert len(store.responses.context("b")) == 4
    keep(store, "c" * 50, previous="b")
    with pytest.raises(BadRequestError, match="more than 1,000 bytes"):
        store.responses.context("c" * 50)


def test_a_conversation_has_a_length(store: Store) -> None:
    created = store.conversations.create({}, [item("x") for _ in range(MAX_INPUT_ITEMS)], max_rows=3)
    with pytest.raises(BadRequestError, match="would have more than 2,048 items"):
        store.conversations.add(created.id, [item("y")])
    assert len(store.conversations.context(created.id)) == MAX_INPUT_ITEMS
    response = {"id": "a", "status": "completed", "created_at": 1, "conversation": {"id": created.id}}
    store.responses.create(response, [item("y")], LONG)  # it was let in before the conversation was full
    with pytest.raises(BadRequestError, match="has more than 2,048 items"):
        store.conversations.context(created.id)


def test_an_end_is_stored_once(store: Store) -> None:
    """A response that was cancelled is not completed afterwards."""
    store.responses.create({"id": "a", "status": "queued", "created_at": now()}, [item("x")], LONG)
    store.responses.start("a")
    assert store.responses.retrieve("a").response["status"] == "in_progress"
    assert store.responses.finish({"id": "a", "status": "cancelled", "created_at": 1, "output": []}, [])
    assert not store.responses.finish({"id": "a", "status": "completed", "created_at": 1, "output": [item("y")]}, [])
    assert store.responses.retrieve("a").response["status"] == "cancelled"
    assert count(store) == 1
    store.responses.start("a")
    assert store.responses.retrieve("a").response["status"] == "cancelled"
