"""Evaluations, one at a time: every question is sent through the application, with low priority.

So a question is validated, answered and rejected exactly as over HTTP, as a request of the evaluation's project.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from luthier.evaluation.report import headline
from luthier.evaluation.run import EvaluationPlan, EvaluationSet, load_evaluation_set, run_evaluation
from luthier.store import ClaimedEvaluation
from luthier.types.errors import LuthierError, NotFoundError
from luthier.worker.application_service import ApplicationService, StoppedError
from luthier.worker.context import WorkerContext
from luthier.worker.handlers.attempt import Attempt, Claimed
from luthier.worker.lane import Claim

_PROGRESS_S = 1.0
_CONCURRENT_QUESTIONS = 2  # more would only wait for the engine


class EvaluationHandler:
    name = "evaluations"
    concurrency = 1

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        evaluation = self._context.store.evaluations.claim(owner, excluding)
        return Claim(evaluation.id, EvaluationRun(self._context, evaluation, owner).run) if evaluation else None


class EvaluationRun(Attempt):
    """One attempt at an evaluation; an interrupted one starts again from its first question."""

    noun, unit = "evaluation", "examples (limit)"

    def __init__(self, context: WorkerContext, evaluation: ClaimedEvaluation, owner: str) -> None:
        super().__init__(context, context.store.evaluations, Claimed(evaluation.id, evaluation.attempts, owner))
        self._store, self._application, self._evaluation = context.store, context.application, evaluation

    def work(self) -> None:
        report = self._report()
        self.finish("succeeded", report=report, headline=headline(report))

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
        service = ApplicationService(self._application, self._store, evaluation.project, self.stopped)
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

    def _save_progress(self, done: int, total: int) -> None:
        """Raises StoppedError."""
        queue = self._store.evaluations.queue
        if queue.heartbeat(self._evaluation.id, self.claimed.owner, done=done, total=total) != "running":
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
