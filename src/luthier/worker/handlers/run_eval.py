"""Eval runs: the model, if any, answers each item, and every criterion grades the answer.

Every request goes through the application with low priority, as a request of the run's project. An answer is stored
before it is graded, and so is each grade by a model, so that no answered request is repeated after an interruption.
"""

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import TypeAdapter

from luthier.store import ClaimedRun, StoredEval
from luthier.types.errors import NotFoundError
from luthier.types.eval_sources import DataSource
from luthier.worker.application_service import ApplicationService, StoppedError
from luthier.worker.context import WorkerContext
from luthier.worker.eval_items import ItemGrader
from luthier.worker.eval_rows import read_rows
from luthier.worker.handlers.attempt import Attempt, Claimed
from luthier.worker.lane import Claim

_CONCURRENT_RUNS = 4
_DATA_SOURCE: TypeAdapter[DataSource] = TypeAdapter(DataSource)


class EvalRunHandler:
    name = "eval runs"
    concurrency = _CONCURRENT_RUNS

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._slots = threading.Semaphore(context.settings.batch_concurrency)  # concurrent items over all runs

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        run = self._context.store.eval_runs.claim(owner, excluding)
        return Claim(run.id, EvalRunAttempt(self._context, run, owner, self._slots).run) if run else None


class EvalRunAttempt(Attempt):
    """One attempt at a run, from the first ungraded item on."""

    running, noun, unit = "in_progress", "run", "items"

    def __init__(self, context: WorkerContext, run: ClaimedRun, owner: str, slots: threading.Semaphore) -> None:
        super().__init__(context, context.store.eval_runs, Claimed(run.id, run.attempts, owner))
        self._store, self._run, self._slots = context.store.within(run.project), run, slots
        self._threads = context.settings.batch_concurrency
        self._service = ApplicationService(context.application, context.store, run.project, self.stopped)

    def work(self) -> None:
        of_eval, data_source = self._eval(), _DATA_SOURCE.validate_python(self._run.data_source)
        if self._run.items_at is None:
            rows = read_rows(self._store, of_eval, data_source)
            self.written(lambda: self._store.eval_runs.add_items(self._run, self.claimed.owner, rows))
        grader = ItemGrader(self._service, data_source, of_eval.testing_criteria, self._save)
        with ThreadPoolExecutor(self._threads) as pool:
            futures = [pool.submit(self._process, grader, item_id) for item_id in self._pending()]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self.finish("completed")

    def _eval(self) -> StoredEval:
        try:
            return self._store.evals.retrieve(self._run.eval_id)
        except NotFoundError:
            raise StoppedError from None  # deleted, and the run with it

    def _pending(self) -> Sequence[str]:
        return self._store.eval_runs.pending_items(self._run.id)

    def _process(self, grader: ItemGrader, item_id: str) -> None:
        """Raises StoppedError."""
        with self._slots:
            item = self._store.eval_runs.stored_item(item_id)
            if item is None or self.stopped():
                raise StoppedError
            grader.grade(item)

    def _save(self, item_id: str, **values: Any) -> None:
        """Raises StoppedError if this worker no longer holds the lease of the run."""
        runs, owner = self._store.eval_runs, self.claimed.owner
        if not self.written(lambda: runs.save_item(self._run.id, owner, item_id, **values)):
            raise StoppedError
