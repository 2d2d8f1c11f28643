"""Jobs side by side: as many as the settings allow and the memory holds, and the first of the queue always."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from luthier.catalogue import Catalogue
from luthier.catalogue.rates import Rate, add_rate, rate_key, read_rates
from luthier.inference import EnginePool
from luthier.inference.options import EngineOptions
from luthier.settings import Settings
from luthier.store import Event, Job, Store
from luthier.types.common import now
from luthier.types.errors import JobError
from luthier.worker import Worker, WorkerContext
from luthier.worker.handlers.job_handler import JobHandler
from luthier.worker.side_by_side import TrainingMemory
from luthier.worker.trainer_hardware import TrainerHardware
from store.test_store import JOB
from through_api import client_of, create, finished, losses, running_server, upload, wait

GB = 1024**3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def _context(store: Store, tmp_path: Path, **settings: int) -> WorkerContext:
    engines = EnginePool(EngineOptions())
    return WorkerContext(Settings(**settings), store, Catalogue(tmp_path), engines, SimpleNamespace(loop=None))


def _queued(store: Store, count: int, **fields: str) -> list[Job]:
    ids = [store.jobs.create(**{**JOB, **fields}).id for _ in range(count)]
    for job_id in ids:
        store.jobs.transition(job_id, ("validating_files",), "queued", Event("validated"))
    return [store.jobs.get(job_id) for job_id in ids]


@pytest.mark.parametrize("concurrent", [1, 2])
def test_so_many_train_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrent: int
) -> None:
    monkeypatch.setattr("luthier.worker.side_by_side.available_memory", lambda: 64 * GB)
    meeting, finished_jobs, running, running_counts = threading.Barrier(concurrent), threading.Semaphore(0), [], []

    def train(job: Job, _: WorkerContext) -> None:
        running.append(job.id)
        meeting.wait(120)  # nobody passes alone
        running_counts.append(len(running))
        meeting.wait(120)
        running.remove(job.id)
        finished_jobs.release()
        raise JobError("over", "over")

    jobs = _queued(store, 4)
    context = _context(store, tmp_path, concurrent_jobs=concurrent)
    worker = Worker(context, [JobHandler(context, "queued", train, TrainingMemory(context))])
    worker.start()
    for _ in jobs:
        assert finished_jobs.acquire(timeout=120)
    worker.stop()
    assert running_counts == [concurrent] * len(jobs)


def test_a_job_waits_for_the_memory_of_those_that_start(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that has taken a step is part of what the machine shows as taken, and counts once."""
    first, second, third = _queued(store, 3)
    memory = TrainingMemory(_context(store, tmp_path, concurrent_jobs=3))
    need = memory.of(first)
    available = {"bytes": need // 2}
    monkeypatch.setattr("luthier.worker.side_by_side.available_memory", lambda: available["bytes"])
    assert memory.has_room(first, [])  # alone it is always tried
    memory.starts(first)
    available["bytes"] = 2 * need - 1
    assert not memory.has_room(second, [first.id])
    monkeypatch.setattr("luthier.store.jobs.now", lambda: 2**31)  # after the start
    store.jobs.record(first.id, Event("Step", type="metrics", data={}, step=1))
    available["bytes"] = need
    assert memory.has_room(second, [first.id])
    memory.starts(second)
    assert not memory.has_room(third, [first.id, second.id])
    assert memory.has_room(third, [])  # both are over


@pytest.mark.parametrize("processes", [1, 3])
def test_memory_is_what_jobs_like_it_took_at_most(
    store: Store, tiny_base: Path, tmp_path: Path, processes: int
) -> None:
    context = _context(store, tmp_path, training_processes=processes)
    (job,) = _queued(store, 1, base=str(tiny_base))
    expected = TrainingMemory(context).of(job)
    assert GB * processes < expected < 2 * GB * processes  # a program with hardly any weights
    key = TrainerHardware.of(context.settings).rate_key(tiny_base, full=False)
    for peak in (3 * GB, 5 * GB, None):
        add_rate(tmp_path, key, Rate(100.0, 9, now(), None, "job", peak_memory_bytes=peak))
    assert TrainingMemory(context).of(job) == pytest.approx(5.5 * GB * processes)


def test_each_trainer_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    shares = [TrainerHardware.of(Settings(concurrent_jobs=jobs)).threads for jobs in (1, 2, 3, 16)]
    assert shares == [0, 4, 2, 1]
    assert TrainerHardware.of(Settings(concurrent_jobs=4, threads=3)).threads == 3


def test_two_trainers_at_once_compute_what_one_would(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And their measured memory is kept, by which later jobs are admitted."""
    monkeypatch.setattr("luthier.worker.side_by_side.available_memory", lambda: 64 * GB)
    with running_server(tmp_path, tiny_base, precision="float32", threads=1, concurrent_jobs=2) as running:
        client = client_of(running)
        file_id = upload(client)
        created_at = now()
        jobs = [create(client, file_id, seed=3).id for _ in range(2)]
        wait(client, jobs[1], lambda job: job.status not in ("validating_files", "queued"))
        assert [client.fine_tuning.jobs.retrieve(job_id).status for job_id in jobs] == ["running", "running"]
        first, second = (losses(client, finished(client, job_id).id) for job_id in jobs)
    assert first == second
    rates = read_rates(Settings().cache, rate_key(tiny_base, "auto", "float32", 1, full=False))
    newest = [rate for rate in rates if rate.measured_at >= created_at]  # and those of tests that run meanwhile
    assert any((rate.peak_memory_bytes or 0) > 100 * 1024**2 for rate in newest)
