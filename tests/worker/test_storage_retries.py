"""Jobs whose disk or database takes nothing: they wait in the queue, longer each time, and fail with a sentence."""

import errno
import io
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from safetensors import SafetensorError
from sqlalchemy.exc import OperationalError

from luthier.event_texts import chinese_event
from luthier.store import Event, Job, Store
from luthier.store.storage_faults import storage_fault
from luthier.training import protocol
from luthier.training.__main__ import EventWriter, _report, _train
from luthier.training.durable_files import write_safetensors
from luthier.types.errors import LuthierError, UnavailableError
from luthier.types.storage_faults import STORAGE_FAULTS, FaultKind, StorageFaultError, disk_fault
from luthier.worker import WorkerContext
from luthier.worker.handlers.job_handler import JobHandler
from luthier.worker.job_messages import storage_unavailable, waits_for_storage
from store.test_store import JOB
from worker.test_run import context_of

MINUTES = (1, 2, 5, 10, 20, 30)
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/jobs/state")


class Clock:
    """Stands in for `luthier.types.clock.CLOCK`."""

    now_s = 1_800_000_000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("luthier.types.clock.CLOCK", clock)
    return clock


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


def handler_of(store: Store, tmp_path: Path, run: Callable[[Job], None]) -> tuple[str, JobHandler]:
    """A queued job, and a handler whose runs of it begin to train and then do `run`."""

    def train(job: Job, _: WorkerContext) -> None:
        store.jobs.transition(job.id, ("queued",), "running", Event("started"), release=False)
        run(job)

    job_id = store.jobs.create(**JOB).id
    store.jobs.transition(job_id, ("validating_files",), "queued", Event("validated"))
    return job_id, JobHandler(context_of(store, tmp_path), "queued", train)


def fails_with(error: Exception) -> Callable[[Job], None]:
    def run(_: Job) -> None:
        raise error

    return run


def run_next(handler: JobHandler) -> bool:
    """Whether there was a job to run."""
    claim = handler.claim("w", ())
    if claim:
        claim.run()
    return claim is not None


def messages(store: Store, job_id: str) -> list[str]:
    return [event.message for event in store.jobs.events(job_id, limit=100, after=None).data[::-1]]


def _operational(error: Exception) -> OperationalError:
    return OperationalError("UPDATE jobs SET secret = ?", (), error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FULL, "full"),
        (OSError(errno.EDQUOT, "quota"), "full"),
        (OSError(errno.EROFS, "read-only"), "read_only"),
        (StorageFaultError("read_only", "of the trainer"), "read_only"),
        (_operational(sqlite3.OperationalError("database or disk is full")), "full"),
        (_operational(sqlite3.OperationalError("attempt to write a readonly database")), "read_only"),
        (OSError(errno.EIO, "input/output error"), "failing"),
        (_operational(sqlite3.OperationalError("disk I/O error")), "failing"),
        (_operational(sqlite3.OperationalError("database table is locked")), "locked"),
        (_operational(psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")), "locked"),
        (_operational(psycopg.OperationalError("server closed the connection unexpectedly")), "unreachable"),
        (UnavailableError("s3://b could not find k", code="blob_store_unavailable"), "unreachable"),
        (_operational(sqlite3.OperationalError("no such column: x")), None),
        (UnavailableError("The model is loading."), None),
        (FileNotFoundError(errno.ENOENT, "no such file"), None),
        (MemoryError(), None),
    ],
)
def test_faults_that_pass_are_told_from_others(error: Exception, kind: FaultKind | None) -> None:
    assert storage_fault(error) == kind


def test_a_job_waits_longer_each_time_and_then_fails(store: Store, clock: Clock, tmp_path: Path) -> None:
    locked = _operational(sqlite3.OperationalError("database is locked"))
    job_id, handler = handler_of(store, tmp_path, fails_with(locked))
    for number, minutes in enumerate(MINUTES, 1):
        assert run_next(handler)
        assert store.jobs.get(job_id).status == "queued"
        waits = f"The job waits for {minutes} minute{'s' * (minutes > 1)} before it is retried (wait {number} of 6): "
        assert messages(store, job_id)[-1].startswith(waits)
        clock.now_s += 60 * minutes - 1
        assert not run_next(handler)
        clock.now_s += 2
    assert run_next(handler)
    job = store.jobs.retrieve(job_id)
    assert job.status == "failed"
    assert job.error
    assert job.error.code == "storage_unavailable"
    assert job.error.message.startswith("After 6 waits of 68 minutes in all ")
    assert "secret" not in "".join(messages(store, job_id))


def test_another_job_runs_meanwhile_and_a_step_starts_the_waits_anew(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    runs: list[str] = []

    def run(job: Job) -> None:
        runs.append(job.id)
        if len(runs) == 3:
            store.jobs.record(job.id, Event("a step", type="metrics", data={}, step=1))
        raise FULL

    job_id, handler = handler_of(store, tmp_path, run)
    assert run_next(handler)
    other_id, _ = handler_of(store, tmp_path, run)
    assert run_next(handler)
    assert runs == [job_id, other_id]
    clock.now_s += 61
    assert run_next(handler)
    assert "(wait 1 of 6)" in messages(store, runs[2])[-1]


@pytest.mark.parametrize("end", ["cancel", "resume"])
def test_a_wait_ends_with_the_status(store: Store, tmp_path: Path, end: str) -> None:
    job_id, handler = handler_of(store, tmp_path, fails_with(FULL))
    assert run_next(handler)
    if end == "cancel":
        store.jobs.cancel(job_id)
        store.delete_job(job_id, with_models=False)
        with pytest.raises(LuthierError):
            store.jobs.get(job_id)
    else:
        store.jobs.pause(job_id)
        store.jobs.resume(job_id)
        assert run_next(handler)


@pytest.mark.parametrize("kind", STORAGE_FAULTS)
def test_waits_and_failures_have_their_chinese(kind: FaultKind) -> None:
    (_, reason), (_, remedy) = STORAGE_FAULTS[kind]
    event = waits_for_storage(1, 1, 6, kind, FULL)
    assert chinese_event(event.message) == f"任务等待 1 分钟后重试（第 1 次等待，共 6 次）：{reason} ({FULL})"
    failure = chinese_event("The job failed: " + storage_unavailable(6, 68, kind, FULL))
    assert failure == f"任务失败：共 68 分钟的 6 次等待之后，{reason} ({FULL})。{remedy}，然后重新创建任务。"


class FullDisk(io.StringIO):
    def flush(self) -> None:
        raise FULL


def test_a_trainer_reports_a_full_disk_although_it_cannot_write_its_events() -> None:
    emit = EventWriter.__new__(EventWriter)
    emit._file, emit._stdout = FullDisk(), io.StringIO()
    assert _report(FULL, emit) == protocol.MACHINE_FAULT
    reported = protocol.parse_event(json.loads(emit._stdout.getvalue()))
    assert reported == protocol.DiskFault(kind="full", message=str(FULL))


def test_a_trainer_whose_log_takes_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullLog(io.StringIO):
        def write(self, text: str) -> int:
            raise FULL

    monkeypatch.setattr("luthier.training.setup.build_trainer", lambda *_: fails_with(FULL)(_))
    monkeypatch.setattr(sys, "stderr", FullLog())
    monkeypatch.setattr(os, "environ", dict(os.environ))
    reported: list[protocol.Event] = []
    assert _train(tmp_path, reported.append, threading.Event()) == protocol.MACHINE_FAULT
    assert reported[-1] == protocol.DiskFault(kind="full", message=str(FULL))


def test_a_state_that_has_no_room_keeps_the_number_of_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("luthier.training.durable_files.save_file", save)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_safetensors({}, tmp_path / "state", {})
    assert disk_fault(caught.value) == "full"
