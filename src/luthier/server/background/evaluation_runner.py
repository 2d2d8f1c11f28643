"""Evaluations are run here, beside the routes, one at a time: every question goes through the application itself.

So it is checked, answered and refused exactly as it would be over HTTP, for the project that asked for the
evaluation; and it waits while requests of people are answered.
"""

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import RowMapping
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from luthier.evaluation.losses import LossesNotAvailableError
from luthier.evaluation.report import headline
from luthier.evaluation.run import EvaluationPlan, load_evaluation_set, run_evaluation
from luthier.evaluation.service import losses_by_epoch
from luthier.inference import low_priority
from luthier.server.background import loopback_client
from luthier.server.state import AppState
from luthier.types.errors import APIError, LuthierError, NotFoundError
from luthier.types.evaluations import EvaluationError, EvaluationStatus, ExampleLoss

_log = logging.getLogger(__name__)
_POLL_S = 0.5
_RENEW_S = 1.0
_AGAIN_S = 5.0
_TOGETHER = 2  # questions; more would only wait for the engine
_TIMEOUT_S = 24 * 3600  # a question waits as long as people have others


class EvaluationRunner:
    """`run` until cancelled. What is running then begins again when a server starts again."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app, self._state = app, state

    async def run(self) -> None:
        store = self._state.store.evaluations
        while True:
            try:
                row = await run_in_threadpool(store.next)
                if row:
                    await self._evaluate(row)
                    continue
            except Exception:
                _log.exception("the evaluation runner met an unforeseen error and goes on")
            await asyncio.sleep(_POLL_S)

    async def _evaluate(self, row: RowMapping) -> None:
        service = _Inside(self._app, self._state, row["project"])
        work = asyncio.ensure_future(asyncio.to_thread(self._end, row, service))
        watch = asyncio.ensure_future(self._watch(row["id"], service))
        try:
            await asyncio.shield(work)
        finally:
            watch.cancel()
            await service.close()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _watch(self, evaluation_id: str, service: "_Inside") -> None:
        """One that nobody wants any more ends, also while a question of it waits."""
        while True:
            await asyncio.sleep(_RENEW_S)
            if not await run_in_threadpool(self._wanted, evaluation_id):
                return await service.close()

    def _wanted(self, evaluation_id: str) -> bool:
        try:
            return self._state.store.evaluations.retrieve(evaluation_id).status == "running"
        except NotFoundError:
            return False
        except SQLAlchemyError:
            return True  # as far as is known

    def _end(self, row: RowMapping, service: "_Inside") -> None:
        finish = partial(self._finish, service, row["id"])
        try:
            made = self._report(row, service)
        except _StoppedError:
            return  # by a person, who has been told; or by the end of the server, after which it begins again
        except Exception as error:
            if not isinstance(error, LuthierError):
                _log.exception("evaluation %s met an unforeseen error", row["id"])
            code = (error.code or error.type) if isinstance(error, APIError) else "evaluation_failed"
            message = str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}"
            finish("failed", error=EvaluationError(code=code, message=message).model_dump())
        else:
            finish("succeeded", report=made, headline=headline(made))

    def _finish(self, service: "_Inside", evaluation_id: str, status: EvaluationStatus, **values: Any) -> None:
        """A full disk or a lock may pass: tried until it is written or the server ends, after which it begins again."""
        while True:
            try:
                return self._state.store.evaluations.finish(evaluation_id, status, **values)
            except OperationalError:
                _log.exception("the end of evaluation %s cannot be written; that is tried again", evaluation_id)
            if service.closed.wait(_AGAIN_S):
                return None

    def _report(self, row: RowMapping, service: "_Inside") -> dict[str, Any]:
        plan = EvaluationPlan(
            [row["model"], *row["against"]], bool(row["functions"]), row["definitions"], row["max_tokens"], _TOGETHER
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "validation.jsonl"
            try:
                self._state.store.files.within(row["project"]).copy(row["validation_file"], path)
            except (NotFoundError, FileNotFoundError) as error:
                raise LuthierError("The validation file does not exist any more.") from error
            evaluation_set = load_evaluation_set(path, plan, name=row["filename"], limit=row["limit"])
        renew = _Renewal(self._state.store.evaluations.progress, row["id"], plan.total_steps(evaluation_set))
        renew()
        return run_evaluation(service, plan, evaluation_set, renew.step).to_dict()


class _StoppedError(Exception):
    """The evaluation is not wanted any more."""


class _Renewal:
    """Counts steps; now and then notes the count and asks whether to go on. Called from several threads."""

    def __init__(self, note: Callable[[str, int, int], bool], evaluation_id: str, total: int) -> None:
        self._note, self._id, self._total = note, evaluation_id, total
        self._done, self._due, self._lock = 0, 0.0, threading.Lock()

    def step(self) -> None:
        with self._lock:
            self._done += 1
            due = time.monotonic() >= self._due
        if due:
            self()

    def __call__(self) -> None:
        self._due = time.monotonic() + _RENEW_S
        if not self._note(self._id, self._done, self._total):
            raise _StoppedError


class _Inside:
    """The application as a service (`luthier.evaluation.service`), to be asked from threads until it is closed."""

    def __init__(self, app: ASGIApp, state: AppState, project: str) -> None:
        self._client = loopback_client.client(app, project, _TIMEOUT_S)
        self._store = state.store.within(project)
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[Any]] = set()
        self.closed = threading.Event()

    async def close(self) -> None:
        """Whatever is under way ends, and whoever waits for it hears _StoppedError."""
        self.closed.set()
        for task in self._under_way:
            task.cancel()
        await self._client.aclose()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._asked("/v1/chat/completions", body)

    def losses(self, model: str, examples: Sequence[dict[str, Any]]) -> list[ExampleLoss]:
        try:
            answer = self._asked("/v1/evaluations/losses", {"model": model, "examples": list(examples)})
        except APIError as error:
            if error.code == "losses_not_available":
                raise LossesNotAvailableError(error.message) from error
            raise
        return [ExampleLoss(**one) for one in answer["data"]]

    def loss_history(self, model: str) -> list[tuple[float, float]]:
        tuned = self._store.models.find(model)
        if tuned is None:
            return []
        try:
            job = self._store.jobs.retrieve(tuned.job_id)
        except NotFoundError:  # of another project, which shares the model alone
            return []
        points = self._store.jobs.checkpoints(tuned.job_id, limit=100, after=None).data
        losses = [(one.step_number, one.metrics.get("full_valid_loss")) for one in points]
        return losses_by_epoch(losses, job.hyperparameters.get("n_epochs"))

    def _asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Raises APIError with what the application answered, and _StoppedError when the server ends."""
        try:
            response = asyncio.run_coroutine_threadsafe(self._sent(path, body), self._loop).result()
        except futures.CancelledError as error:
            raise _StoppedError from error
        answer: Any = response.json()
        if response.status_code == 200:
            return dict(answer)
        said = answer.get("error") or {}
        raise APIError(str(said.get("message") or response.text), code=said.get("code"))

    async def _sent(self, path: str, body: dict[str, Any]) -> httpx.Response:
        task = asyncio.current_task()
        if self.closed.is_set() or task is None:
            raise asyncio.CancelledError
        low_priority.set(True)
        self._under_way.add(task)
        try:
            return await loopback_client.post(self._client, path, body)
        finally:
            self._under_way.discard(task)
