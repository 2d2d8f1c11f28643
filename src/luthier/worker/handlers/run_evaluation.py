"""Evaluations, one at a time: every question is sent through the application, with low priority.

A question is therefore validated, answered and refused exactly as over HTTP, as a request of the evaluation's project.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from luthier.evaluation.report import headline
from luthier.evaluation.run import EvaluationPlan, EvaluationSet, load_evaluation_set, run_evaluation
from luthier.store import ClaimedEvaluation
from luthier.types.errors import APIError, LuthierError, NotFoundError
from luthier.types.evaluations import EvaluationError, EvaluationStatus
from luthier.worker.application_service import ApplicationService, StoppedError
from luthier.worker.context import WorkerContext
from luthier.worker.lane import Claim
from luthier.worker.lease import Lease

_log = logging.getLogger(__name__)
_PROGRESS_S = 1.0
_RETRY_S = 5.0
_CONCURRENT_QUESTIONS = 2  # more would only wait for the engine
_MAX_ATTEMPTS = 3


class EvaluationHandler:
    name = "evaluations"
    concurrency = 1

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        evaluation = self._context.store.evaluations.claim(owner, excluding)
        return Claim(evaluation.id, EvaluationRun(self._context, evaluation, owner).run) if evaluation else None


class EvaluationRun:
    """One attempt at an evaluation; an interrupted one starts again from its first question."""

    def __init__(self, context: WorkerContext, evaluation: ClaimedEvaluation, owner: str) -> None:
        self._store, self._application, self._stop = context.store, context.application, context.stop
        self._evaluation, self._owner = evaluation, owner
        self._lost = threading.Event()  # cancelled, deleted, or another worker has it

    def run(self) -> None:
        queue, evaluation_id = self._store.evaluations.queue, self._evaluation.id
        try:
            with Lease(queue, evaluation_id, self._owner, ("running",), lambda _: self._lost.set()):
                if self._evaluation.attempts > _MAX_ATTEMPTS:
                    self._fail("worker_died", _DIED)
                else:
                    self._evaluate()
        finally:
            if self._stop.is_set():
                self._store.evaluations.requeue(evaluation_id, self._owner)
            queue.release(evaluation_id, self._owner)

    def _evaluate(self) -> None:
        try:
            report = self._report()
        except StoppedError:
            return
        except Exception as error:
            if not isinstance(error, LuthierError):
                _log.exception("evaluation %s met an unexpected error", self._evaluation.id)
            code = (error.code or error.type) if isinstance(error, APIError) else "evaluation_failed"
            self._fail(code, str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}")
        else:
            self._finish("succeeded", report=report, headline=headline(report))

    def _fail(self, code: str, message: str) -> None:
        self._finish("failed", error=EvaluationError(code=code, message=message).model_dump())

    def _finish(self, status: EvaluationStatus, **values: Any) -> None:
        """A full disk or a lock may be transient: retried until it is written or the evaluation is stopped."""
        while True:
            try:
                return self._store.evaluations.finish(self._evaluation.id, self._owner, status, **values)
            except OperationalError:
                _log.exception("the end of evaluation %s cannot be written; it is tried again", self._evaluation.id)
            if self._stop.wait(_RETRY_S) or self._lost.is_set():
                return None

    def _report(self) -> dict[str, Any]:
        evaluation = self._evaluation
        plan = EvaluationPlan(
            [evaluation.model, *evaluation.against],
            evaluation.functions,
            evaluation.definitions,
            evaluation.max_tokens,
            _CONCURRENT_QUESTIONS,
        )
        evaluation_set = self._evaluation_set(plan)
        progress = _Progress(self._save_progress, plan.total_steps(evaluation_set))
        service = ApplicationService(self._application, self._store, evaluation.project, self._stopped)
        return run_evaluation(service, plan, evaluation_set, progress.step).to_dict()

    def _evaluation_set(self, plan: EvaluationPlan) -> EvaluationSet:
        evaluation = self._evaluation
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "validation.jsonl"
            try:
                self._store.files.within(evaluation.project).place(evaluation.validation_file or "", path)
            except (NotFoundError, FileNotFoundError) as error:
                raise LuthierError("The validation file does not exist any more.") from error
            return load_evaluation_set(path, plan, name=evaluation.filename or "", limit=evaluation.limit)

    def _stopped(self) -> bool:
        return self._stop.is_set() or self._lost.is_set()

    def _save_progress(self, done: int, total: int) -> None:
        """Raises StoppedError."""
        queue = self._store.evaluations.queue
        if queue.heartbeat(self._evaluation.id, self._owner, done=done, total=total) != "running":
            raise StoppedError


class _Progress:
    """Counts steps, and saves the count once a second. Thread-safe."""

    def __init__(self, save: Callable[[int, int], None], total: int) -> None:
        self._save, self._total = save, total
        self._done, self._due, self._lock = 0, 0.0, threading.Lock()
        save(0, total)

    def step(self) -> None:
        with self._lock:
            self._done += 1
            due = time.monotonic() >= self._due
            if due:
                self._due = time.monotonic() + _PROGRESS_S
        if due:
            self._save(self._done, self._total)


_DIED = (
    f"The worker died {_MAX_ATTEMPTS} times while it ran this evaluation, which is not started again. The log of the "
    "server or worker may say why; fewer examples (limit) need less memory."
)
