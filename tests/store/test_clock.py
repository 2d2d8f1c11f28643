"""A clock that jumps: nothing that waits ends for it, and what lasts is followed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import Event, Store
from luthier.types.clock import SETTLED_S, Clock
from luthier.types.common import now
from luthier.types.errors import NotFoundError
from store.test_store import JOB, put

DAYS_S = 2 * 24 * 3600.0


class Machine:
    """The system's clock, and the time since the machine was started."""

    def __init__(self) -> None:
        self.system, self.elapsed = 1_800_000_000.0, 500.0
        self.clock = Clock(lambda: self.system, lambda: self.elapsed)

    def passes(self, seconds: float) -> float:
        self.system += seconds
        self.elapsed += seconds
        return self.clock.time()


@pytest.mark.parametrize("jump_s", [DAYS_S, -DAYS_S, 120.0, -120.0])
def test_a_jump_that_does_not_last_is_not_seen(jump_s: float) -> None:
    machine = Machine()
    start = machine.clock.time()
    machine.system += jump_s
    assert machine.clock.time() == start
    assert machine.passes(SETTLED_S - 1) == start + SETTLED_S - 1
    machine.system -= jump_s
    assert machine.passes(1) == start + SETTLED_S
    machine.system += jump_s  # counts from the beginning
    assert machine.passes(SETTLED_S - 1) == start + 2 * SETTLED_S - 1


@pytest.mark.parametrize("jump_s", [DAYS_S, -DAYS_S])
def test_a_jump_that_lasts_is_followed(jump_s: float) -> None:
    machine = Machine()
    start = machine.clock.time()
    machine.system += jump_s
    machine.clock.time()
    assert machine.passes(SETTLED_S) == start + SETTLED_S + jump_s


def test_corrections_and_sleep_are_followed_at_once() -> None:
    machine = Machine()
    start = machine.clock.time()
    for correction in (0.5, -30.0, 59.0):
        machine.system += correction
        start += correction
        assert machine.clock.time() == start
    assert machine.passes(DAYS_S) == start + DAYS_S  # the machine was suspended


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.mark.sqlite  # on PostgreSQL leases go by the clock of another machine
@pytest.mark.parametrize("jump_s", [DAYS_S, -DAYS_S])
def test_nothing_ends_while_the_clock_is_wrong(store: Store, monkeypatch: pytest.MonkeyPatch, jump_s: float) -> None:
    job = store.jobs.create(**JOB)
    assert store.jobs.claim("w/queued", "validating_files")
    store.jobs.transition(job.id, ("validating_files",), "running", Event("started"), release=False)
    upload = store.uploads.create("f", "assistants", 1, file_expires_after_s=None)
    file = put(store, b"x", expires_after_s=3600)
    batch = store.batches.create(endpoint="/v1/embeddings", input_file_id=file.id, completion_window="24h")
    system, before = time.time, now()
    monkeypatch.setattr(time, "time", lambda: system() + jump_s)
    store.delete_expired()
    assert store.jobs.requeue_lost() == []
    assert store.jobs.queue.heartbeat(job.id, "w/queued") == "running"
    assert store.uploads.retrieve(upload.id).status == "pending"
    assert store.files.path(file.id).read_bytes() == b"x"
    assert (store.batches.retrieve(batch.id).expires_at or 0) > now()
    assert abs(store.batches.create(endpoint="e", input_file_id="f", completion_window="24h").created_at - before) < 60


def test_a_retry_does_not_wait_for_days_after_the_clock_was_put_back(store: Store) -> None:
    """Written by a process that was started while the clock was ahead."""
    job = store.jobs.create(**JOB)
    assert store.jobs.claim("w/a", "validating_files")
    store.jobs.queue.release(job.id, "w/a", retry_after_s=DAYS_S)
    assert store.jobs.claim("w/b", "validating_files")


def test_a_heartbeat_shortens_a_lease_from_the_future(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.jobs.create(**JOB)
    ahead = Clock(lambda: time.time() + DAYS_S)
    with monkeypatch.context() as patch:
        patch.setattr("luthier.types.clock.CLOCK", ahead)
        assert store.jobs.claim("w/a", "validating_files")
    assert store.jobs.queue.heartbeat(job.id, "w/a") == "validating_files"
    assert (store.jobs.get(job.id).lease_until or 0) < now() + 60


def test_what_has_expired_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(store, b"x", expires_after_s=3600)
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: time.time() + 3601))
    with pytest.raises(NotFoundError):
        store.files.retrieve(file.id)
