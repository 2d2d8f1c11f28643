"""A database server that goes away while a worker works: everything goes on once it is back, and nothing fails."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.settings import Settings
from luthier.store import Job, Store
from luthier.store.eval_runs import EvalRuns
from luthier.store.evals import Evals
from luthier.worker import WorkerContext
from luthier.worker.handlers.job_handler import JobHandler
from luthier.worker.handlers.run_eval import EvalRunHandler
from luthier.worker.training_run import MAX_ATTEMPTS
from outages import fails_first, outage
from store.test_store import JOB

pytestmark = pytest.mark.services
_OUTAGES = 9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def context(store: Store, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    """Of a worker that sends no requests and does not wait."""
    for pause in ("job_handler._UNWRITTEN_S", "attempt._RETRY_S"):
        monkeypatch.setattr(f"luthier.worker.handlers.{pause}", 0)
    unused: Any = None
    return WorkerContext(Settings(), store, unused, unused, unused)


def test_an_outage_is_no_failed_attempt_of_a_job(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = context.store.jobs
    job_id = jobs.create(**JOB).id

    def interrupted(job: Job, context: WorkerContext) -> None:
        monkeypatch.setattr(context.store.jobs, "last_step", fails_first(jobs.last_step, 2))
        raise outage()

    for _ in range(MAX_ATTEMPTS + 1):
        claim = JobHandler(context, "validating_files", interrupted).claim("worker/jobs", [])
        assert claim
        claim.run()
    job = jobs.get(job_id)
    assert (job.status, job.attempts) == ("validating_files", 0)
    messages = [event.message for event in jobs.events(job_id, limit=99, after=None).data]
    assert messages.count("The database was unreachable for a while; the job resumes") == MAX_ATTEMPTS + 1


@pytest.mark.parametrize("error", [outage, lambda: OSError(errno.ENOSPC, "full"), lambda: OSError(errno.EIO, "bad")])
def test_a_fault_of_the_storage_is_no_failed_attempt_of_a_run(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    store = context.store
    config = {"type": "custom", "schema": {"type": "object", "properties": {"item": {}}}}
    of_eval = store.evals.create(name="e", data_source_config=config, testing_criteria=[], metadata=None)
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {"q": "a"}}]}}
    store.eval_runs.create(of_eval.id, name="r", model="", data_source=source, metadata={})
    monkeypatch.setattr(Evals, "retrieve", fails_first(Evals.retrieve, _OUTAGES, error))
    monkeypatch.setattr(EvalRuns, "requeue", fails_first(EvalRuns.requeue, 2))
    for _ in range(_OUTAGES):
        claim = EvalRunHandler(context).claim("worker/eval runs", [])
        assert claim
        claim.run()
    claimed = store.eval_runs.claim("worker/eval runs")
    assert claimed
    assert claimed.attempts == 1
