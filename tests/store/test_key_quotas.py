"""Limits of a key on what it stores and on its unfinished jobs, where requests race."""

import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest

from luthier.store import Store
from luthier.store.key_quotas import calling, key_objects
from luthier.types.errors import RateLimitError
from luthier.types.projects import Caller
from store.test_store import JOB, put


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def _caller() -> Iterator[None]:
    """A key that may have two unfinished jobs and ten bytes."""
    token = calling.set(Caller(key_id="key_1", max_jobs=2, max_bytes=10))
    yield
    calling.reset(token)


def test_requests_at_the_same_time_do_not_pass_together(store: Store) -> None:
    outcomes: list[str] = []

    def create() -> None:
        try:
            outcomes.append(store.jobs.create(**JOB).id)
        except RateLimitError as error:
            outcomes.append(str(error.code))

    threads = [threading.Thread(target=copy_context().run, args=(create,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("rate_limit_exceeded") == 6
    assert len(store.jobs.list(limit=9, after=None).data) == 2


def test_a_refused_file_leaves_nothing_behind(store: Store) -> None:
    put(store, b"1234567890")
    before = sorted(path.name for path in store.files.folder.iterdir())
    with pytest.raises(RateLimitError, match="hold 10, and 1 were requested"):
        put(store, b"1")
    assert sorted(path.name for path in store.files.folder.iterdir()) == before


def test_other_keys_and_those_without_limits_are_not_counted(store: Store) -> None:
    for caller in (Caller(key_id="key_2"), Caller(), None):
        token = calling.set(caller)
        for _ in range(3):
            put(store, b"1234567890")
            store.jobs.create(**JOB)
        calling.reset(token)
    put(store, b"1234567890")
    store.jobs.create(**JOB)


def test_what_is_deleted_is_forgotten(store: Store) -> None:
    file = put(store, b"1234567890")
    job = store.jobs.create(**JOB)
    store.uploads.cancel(store.uploads.create("a.jsonl", "fine-tune", 0, file_expires_after_s=None).id)
    store.files.delete(file.id)
    store.delete_expired()
    with store._database.read() as connection:
        owned = set(connection.scalars(key_objects.select().with_only_columns(key_objects.c.object_id)))
    assert file.id not in owned
    assert job.id in owned
