"""One run of a trainer, with a trainer that says what the test wants."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luthier.catalogue import Catalogue
from luthier.inference import EnginePool
from luthier.inference.options import EngineOptions
from luthier.settings import Settings
from luthier.store import Event, Job, Store
from luthier.store.work_queue import LEASE_S, LeasedTable
from luthier.types.clock import Clock
from luthier.types.errors import JobError
from luthier.worker import Worker, WorkerContext, job_spec_builder
from luthier.worker.handlers.job_handler import JobHandler
from luthier.worker.training_run import TrainingRun
from store.test_store import JOB
from training.jobs import EXAMPLES


class Script:
    """Stands in for the trainer process: its rounds of events, and how each ends."""

    rounds: list[tuple[list[dict[str, Any]], int]] = []  # noqa: RUF012 - set by each test

    def __init__(self, folder: Path) -> None:
        self._events, self._code = self.rounds.pop(0)
        self._file = folder / "events.jsonl"
        (folder / "trainer.log").touch()

    def start(self) -> None: ...

    def events(self) -> Iterator[dict[str, Any]]:
        for event in self._events:
            with self._file.open("a") as file:
                file.write(json.dumps(event) + "\n")
            yield event

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def peak_memory_bytes(self) -> int | None:
        return None

    def resident_bytes(self) -> int | None:
        return 5

    def wait(self) -> int:
        return self._code


def steps(first: int, last: int) -> list[dict[str, Any]]:
    metrics = {"train_loss": 1.0, "train_mean_token_accuracy": 0.5}
    return [{"type": "metrics", "step": step, "total_steps": 20, "metrics": metrics} for step in range(first, last + 1)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    result = Store(tmp_path / "data")
    yield result
    result.close()


def run_until_over(store: Store, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """(the error's code, how many rounds it took)."""
    monkeypatch.setattr("luthier.worker.training_run.LocalTrainerProcess", Script)
    monkeypatch.setattr("luthier.worker.training_run._AFTER_KILL_S", 0)
    job = store.jobs.create(**{**JOB, "base": str(base)})
    lines = "".join(json.dumps(example) + "\n" for example in EXAMPLES)
    (store.job_folder(job.id) / "train.jsonl").write_text(lines)
    store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    rounds = 0
    while claimed := store.jobs.claim("w", "queued"):
        rounds += 1
        try:
            TrainingRun(claimed, context_of(store, tmp_path)).run()
        except JobError as error:
            return error.code, rounds
        store.jobs.queue.release(job.id, "w")
    raise AssertionError("the job is neither over nor queued")


def test_the_same_steps_again_are_no_progress(
    store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that always fails would otherwise be tried for ever."""
    Script.rounds = [(steps(1, 3), -11) for _ in range(9)]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 3)


def test_a_trainer_that_others_kill_is_started_again_as_often_as_they_do(
    store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.worker.out_of_memory.count_kills", lambda: 4)
    kills = [(steps(1, 3), -signal) for signal in (9, 9, 15, 1, 9, 2, 9)]
    Script.rounds = [*kills, *[([], -11)] * 3]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 10)


@pytest.mark.parametrize("counts", [itertools.count(), itertools.repeat(None)], ids=["out of memory", "unknown"])
def test_a_trainer_that_was_killed_for_memory_is_not_started_for_ever(
    counts: Iterator[int | None], store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.worker.out_of_memory.count_kills", lambda: next(counts))
    Script.rounds = [(steps(1, 3), -9) for _ in range(9)]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 3)


def test_a_job_that_starts_again_does_not_repeat_itself(
    store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = {
        "type": "resolved",
        "learning_rate": 1e-4,
        "truncated": 2,
        "examples": 10,
        "total_steps": 20,
        "tokens": 90,
    }
    first = [{**resolved, "hyperparameters": {"n_epochs": 3}, "auto": ["n_epochs"]}, *steps(1, 3)]
    later = [{**resolved, "hyperparameters": {"n_epochs": 3}, "auto": []}, {"type": "resumed", "step": 2}, *steps(3, 3)]
    Script.rounds = [(first, -11), (later, -11), ([*later, *steps(4, 4)], -11), *[(later, -11)] * 2]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 5)
    job = store.jobs.list(limit=1, after=None).data[0]
    events = store.jobs.events(job.id, limit=100, after=None).data
    messages = Counter(event.message for event in events if event.level == "info" and event.type == "message")
    assert set(messages.values()) == {1}
    text = "\n".join(messages)
    assert text.count("learning rate 1.00e-04") == text.count("resumes after step 2") == 1
    assert "chosen for auto: n_epochs=3" in text


def context_of(store: Store, tmp_path: Path) -> WorkerContext:
    """Of a worker that sends no requests."""
    engines = EnginePool(EngineOptions())
    return WorkerContext(Settings(), store, Catalogue(tmp_path), engines, SimpleNamespace(loop=None))


def test_one_lane_does_not_release_what_another_has_claimed(store: Store, tmp_path: Path) -> None:
    claimed, released, owned = threading.Event(), threading.Event(), []

    def validate(job: Job, _: WorkerContext) -> None:
        store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
        assert claimed.wait(300)

    def train(job: Job, _: WorkerContext) -> None:
        claimed.set()
        assert released.wait(300)
        owned.append(store.jobs.queue.heartbeat(job.id, job.owner))
        raise JobError("over", "over")

    class Meeting(JobHandler):
        def run(self, job: Job) -> None:
            super().run(job)
            released.set()

    store.jobs.create(**JOB)
    context = context_of(store, tmp_path)
    worker = Worker(context, [Meeting(context, "validating_files", validate), JobHandler(context, "queued", train)])
    worker.start()
    assert released.wait(300)
    worker.stop()
    assert owned == ["queued"]


def test_the_lease_is_renewed_until_the_job_has_ended(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verifying a model may take longer than a lease lasts, after its trainer has exited."""
    passed, lost_leases, beats = [0.0], [], threading.Semaphore(0)
    clock = Clock(lambda: time.time() + passed[0], lambda: time.monotonic() + passed[0])
    monkeypatch.setattr("luthier.types.clock.CLOCK", clock)
    monkeypatch.setattr("luthier.worker.lease._BEAT_S", 0.01)
    heartbeat = LeasedTable.heartbeat

    def counted(*args: Any, **values: Any) -> str | None:
        status = heartbeat(*args, **values)
        beats.release()
        return status

    monkeypatch.setattr(LeasedTable, "heartbeat", counted)

    def verify(job: Job, _: WorkerContext) -> None:
        store.jobs.transition(job.id, ("queued",), "running", Event("started"), release=False)
        for _step in range(4):
            passed[0] += 0.8 * LEASE_S
            for _beat in range(2):  # the first may have begun before
                while beats.acquire(blocking=False):
                    pass
                assert beats.acquire(timeout=60)
            lost_leases.extend(store.jobs.requeue_lost())  # as another worker does

    job = store.jobs.create(**JOB)
    store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    claim = JobHandler(context_of(store, tmp_path), "queued", verify).claim("w", ())
    assert claim
    claim.run()
    assert lost_leases == []


def test_faults_of_the_machine_with_steps_between_do_not_add_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_taken = itertools.count(1)

    def train(job: Job, _: WorkerContext) -> None:
        store.jobs.transition(job.id, ("queued",), "running", Event("started"), release=False)
        step = next(steps_taken)
        if step <= 6:  # progress, five times
            store.jobs.record(job.id, Event("a step", type="metrics", data={}, step=step))
        raise OSError("a disk that is full for a while")

    monkeypatch.setattr("luthier.worker.handlers.job_handler._BACKOFF_S", 0)
    job = store.jobs.create(**JOB)
    store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    handler = JobHandler(context_of(store, tmp_path), "queued", train)
    rounds = 0
    while claim := handler.claim("w", ()):
        rounds += 1
        claim.run()
    assert rounds == 8  # the seventh and eighth without a step
    assert store.jobs.retrieve(job.id).error.code == "server_error"


def test_new_steps_are_progress(store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Script.rounds = [(steps(1, 3), -11), (steps(1, 4), 1), (steps(2, 6), 74), *[(steps(5, 6), -6)] * 9]
    assert run_until_over(store, tiny_base, tmp_path, monkeypatch) == ("trainer_died", 5)


def test_a_trainer_compiles_its_kernels_into_the_cache_of_the_server(
    store: Store, tiny_base: Path, tmp_path: Path
) -> None:
    store.jobs.create(**{**JOB, "base": str(tiny_base)})
    job = store.jobs.claim("w", "validating_files")
    assert job
    spec = job_spec_builder.build(job, context_of(store, tmp_path))
    assert spec.cache == str(tmp_path)
