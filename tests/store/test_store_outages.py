"""A database server that ends a session: what it may have committed keeps its bytes, and a repetition finds it."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from luthier.store import Store
from luthier.store.outages import is_outage, may_be_committed
from luthier.store.postgres_backend import Connector
from luthier.store.request_ids import seeded
from outages import lose_next_answer, outage
from store.test_store import put

_CONTENT = b"1234"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def _file(store: Store) -> Callable[[], str]:
    def create() -> str:
        with seeded("request"):
            return put(store, _CONTENT).id

    return create


def _upload(store: Store) -> Callable[[], str]:
    upload = store.uploads.create("a", "user_data", len(_CONTENT), file_expires_after_s=None)
    part = store.uploads.add_part(upload.id, lambda out: out.write(_CONTENT) and None, max_bytes=9)

    def complete() -> str:
        file = store.uploads.complete(upload.id, [part.id], None).file
        assert file
        return file.id

    return complete


def _batch_output(store: Store) -> Callable[[], str]:
    values: dict[str, Any] = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    store.batches.create(**values)
    batch = store.batches.claim("worker/batches")
    assert batch

    def attach() -> str:
        store.batches.attach_results(batch, "output_file_id", "a", lambda out: out.write(_CONTENT) and None)
        return str(store.batches.retrieve(batch.id).output_file_id)

    return attach


@pytest.mark.parametrize("prepare", [_file, _upload, _batch_output])
def test_what_may_be_committed_keeps_its_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Store], Callable[[], str]]
) -> None:
    create = prepare(store)
    lose_next_answer(store, monkeypatch)
    with pytest.raises(OperationalError):
        create()
    assert store.files.path(create()).read_bytes() == _CONTENT
    assert len(store.files.list(purpose=None, limit=9, ascending=True, after=None).data) == 1


def test_a_part_that_may_be_committed_keeps_its_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.uploads.create("a", "user_data", len(_CONTENT), file_expires_after_s=None)
    lose_next_answer(store, monkeypatch)
    with pytest.raises(OperationalError):
        store.uploads.add_part(upload.id, lambda out: out.write(_CONTENT) and None, max_bytes=9)
    assert [path.read_bytes() for path in store.uploads.folder.iterdir()] == [_CONTENT]


def test_what_is_an_outage() -> None:
    refused = OperationalError("SELECT 1", {}, Exception("the database system is starting up"))
    assert is_outage(refused)
    assert not may_be_committed(refused)
    assert is_outage(outage())
    assert may_be_committed(outage())
    assert not is_outage(OSError())


def test_sqlite_has_no_outages() -> None:
    locked = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))
    assert not is_outage(locked)
    assert not may_be_committed(locked)


def test_a_pool_that_is_used_up_is_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_in_vain() -> None:
        raise PoolTimeoutError("QueuePool limit of size 8 overflow 32 reached")

    monkeypatch.setattr(store._database._engine, "connect", wait_in_vain)
    for transaction in (store._database.read, store._database.write):
        with pytest.raises(OperationalError) as caught, transaction():
            pass
        assert is_outage(caught.value)
        assert not may_be_committed(caught.value)


class _Driver:
    """Of a database that answers after `seconds`, with a connection or an error."""

    class Error(Exception):
        pass

    class OperationalError(Error):
        pass

    def __init__(self) -> None:
        self.loaded_dbapi, self.now_s, self.seconds, self.attempts = self, 0.0, 0.0, 0
        self.is_up, self.on_attempt = False, lambda: None

    def connect(self, *_: object, **__: object) -> str:
        self.attempts += 1
        self.now_s += self.seconds
        self.on_attempt()
        if not self.is_up:
            raise self.OperationalError("timeout expired")
        return "connection"


def test_one_thread_tries_to_reach_a_host_that_does_not_answer() -> None:
    driver = _Driver()
    connector = Connector(lambda: driver.now_s)

    def connect() -> object:
        return connector(driver, None, (), {})

    def connect_meanwhile() -> None:
        driver.on_attempt = lambda: None
        with pytest.raises(_Driver.OperationalError, match="timeout expired"):
            connect()

    for seconds, attempts_at_once in ((0.01, 2), (5.0, 1)):  # refused, no answer
        driver.seconds = seconds
        with pytest.raises(_Driver.OperationalError):
            connect()
        attempts, driver.on_attempt = driver.attempts, connect_meanwhile
        with pytest.raises(_Driver.OperationalError):
            connect()
        assert driver.attempts - attempts == attempts_at_once
    driver.is_up = True
    assert connect() == connect() == "connection"


def test_an_event_loop_does_not_wait_for_the_database(store: Store) -> None:
    async def find() -> None:
        store.models.list()

    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(find())
