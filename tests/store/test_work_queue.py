"""The leased queue under jobs, batches and evaluations: who gets a row, for how long, and when another does."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import Event, Store
from luthier.store.work_queue import LEASE_S
from luthier.types.clock import Clock
from store.test_store import JOB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of now have expired."""
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: time.time() + LEASE_S + 1))


def test_a_worker_does_not_rob_itself(store: Store, request: pytest.FixtureRequest) -> None:
    """A machine that slept for an hour finds all leases expired, those of its own running work among them."""
    job = store.jobs.create(**JOB)
    assert store.jobs.claim("w/queued", "validating_files")
    store.jobs.transition(job.id, ("validating_files",), "running", Event("started"), release=False)
    request.getfixturevalue("later")
    assert store.jobs.requeue_lost(excluding=[job.id]) == []
    assert store.jobs.queue.heartbeat(job.id, "w/queued") == "running"
    assert store.jobs.requeue_lost() == []  # renewed


def test_a_released_row_may_have_to_wait(store: Store, request: pytest.FixtureRequest) -> None:
    job = store.jobs.create(**JOB)
    assert store.jobs.claim("w", "validating_files")
    store.jobs.queue.release(job.id, "w", retry_after_s=LEASE_S)
    assert store.jobs.queue.heartbeat(job.id, "w") is None
    assert store.jobs.claim("w", "validating_files") is None
    request.getfixturevalue("later")
    assert store.jobs.claim("w", "validating_files")


def test_only_the_owner_changes_what_it_owns(store: Store) -> None:
    job, queue = store.jobs.create(**JOB), store.jobs.queue
    assert store.jobs.claim("one", "validating_files")
    assert not queue.transition(job.id, ("validating_files",), "queued", owner="two")
    queue.release(job.id, "two")
    assert queue.heartbeat(job.id, "one") == "validating_files"
    assert queue.transition(job.id, ("validating_files",), "queued", owner="one")
    assert queue.heartbeat(job.id, "one") is None  # the lease ended with the status
    assert (queue.status(job.id), queue.status("nothing")) == ("queued", None)


def test_leases_of_dead_workers_end_and_those_of_live_ones_do_not(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)  # as in another process
    live, dead = store.workers.register(), other.workers.register()
    jobs = [store.jobs.create(**JOB).id for _ in range(2)]
    for worker in (live, dead):
        assert store.jobs.claim(f"{worker}/validating_files", "validating_files")
    other.workers._own[dead].release()  # as the kernel does when a process ends
    store.release_dead_workers()
    assert store.jobs.queue.heartbeat(jobs[0], f"{live}/validating_files") == "validating_files"
    assert store.jobs.claim("new", "validating_files").id == jobs[1]
    assert [path.stem for path in (tmp_path / "workers").rglob("*.lock")] == [live]
    store.workers.unregister(live)
    assert not any((tmp_path / "workers").rglob("*.lock"))
    other.close()


def test_a_lock_that_another_machine_cannot_see_costs_no_worker_its_lease(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that passes no locks on, every lock of another machine looks free."""
    if not store.is_shared:
        return
    worker = store.workers.register()
    store.workers._own[worker].release()
    store.jobs.create(**JOB)
    claimed = store.jobs.claim(f"{worker}/queued", "validating_files")
    assert claimed
    monkeypatch.setattr("luthier.store.machine_id", lambda: "another")
    other = Store(tmp_path)
    other.release_dead_workers()
    assert other.jobs.queue.heartbeat(claimed.id, claimed.owner) == "validating_files"
    other.close()
