"""Batches: every line is sent through the application as a request of its own, with low priority.

So a line is validated, answered and rejected exactly as over HTTP. A batch can be interrupted at any time: its results
so far are in a file, and the next run continues after them.
"""

import asyncio
import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import httpx

from luthier.store import ClaimedBatch
from luthier.store.batch_results import BatchResults
from luthier.store.failure_log import log_failure
from luthier.store.request_ids import seeded
from luthier.types.batches import OPEN, BatchError, BatchErrors, BatchStatus
from luthier.types.common import now
from luthier.types.errors import BadRequestError, CorruptDataError, NotFoundError, StaleClaimError
from luthier.worker.application import LoopTask
from luthier.worker.batch_input import InputCheck, Line, check_input, read_lines
from luthier.worker.batch_output import (
    BatchOutput,
    progress_columns,
    read_response,
    request_counts,
    result_row,
    token_counts,
)
from luthier.worker.context import WorkerContext
from luthier.worker.lane import Claim
from luthier.worker.lease import Lease

_log = logging.getLogger(__name__)
_CONCURRENT_BATCHES = 4
_PROGRESS_S = 1.0
_RETRY_S = 30.0
_NO_INPUT = BatchError(code="invalid_input_file", message="The input file does not exist any more.")


class BatchHandler:
    name = "batches"
    concurrency = _CONCURRENT_BATCHES

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._gate = asyncio.Semaphore(context.settings.batch_concurrency)  # over all batches

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        batch = self._context.store.batches.claim(owner, excluding)
        return Claim(batch.id, lambda: self._run(batch, owner)) if batch else None

    def _run(self, batch: ClaimedBatch, owner: str) -> None:
        """Run a batch. A fault of the machine may be transient, so the batch is retried, and fails only when it has
        expired."""
        context = replace(self._context, store=self._context.store.holding(batch.fencing_token))
        batches, retry_after_s = context.store.batches, 0.0
        try:
            BatchRun(context, batch, owner, self._gate).run()
        except StaleClaimError as error:
            _log.warning("%s; this one leaves it alone", error)
        except Exception as error:
            log_failure(_log, f"batch {batch.id}", error)
            if now() < batch.expires_at:
                retry_after_s = _RETRY_S
            else:
                entry = BatchError(code="server_error", message=f"{type(error).__name__}: {error}")
                batches.transition(batch.id, OPEN, "failed", errors=BatchErrors(data=[entry]).model_dump())
        finally:
            batches.queue.release(batch.id, owner, retry_after_s=retry_after_s)


class BatchRun:
    """One batch, from its current status to its end, or until it is interrupted."""

    def __init__(self, context: WorkerContext, batch: ClaimedBatch, owner: str, gate: asyncio.Semaphore) -> None:
        self._context, self._store = context, context.store
        self._batch, self._owner, self._gate = batch, owner, gate
        self._status: BatchStatus = batch.status
        self._validated, self._total = batch.in_progress_at is not None, batch.request_counts.total
        folder = self._store.batches.folder(batch.id)
        self._input, self._results = folder / "input.jsonl", BatchResults(folder / "journal.jsonl")
        self._saved: dict[str, Any] = {}  # progress as last written to the store
        self._claim_lost = threading.Event()  # another worker has claimed the batch

    def run(self) -> None:
        queue, working = self._store.batches.queue, ("validating", "in_progress", "finalizing")
        try:
            with Lease(queue, self._batch.id, self._owner, working, self._on_lost):
                if self._status == "validating" and not self._validate():
                    return
                if self._validated and not self._input.exists() and not self._take_over():
                    return
                if self._status == "in_progress":
                    self._answer()
                if self._claim_lost.is_set():
                    _log.warning("batch %s was taken over by another worker", self._batch.id)
                elif not self._interrupted():
                    self._finish()
        finally:
            self._results.close()

    def _on_lost(self, status: str | None) -> None:
        if status == "cancelling":
            self._status = "cancelling"
        else:
            self._claim_lost.set()

    def _interrupted(self) -> bool:
        """Whether the worker is stopping while lines remain to be answered."""
        return self._context.stop.is_set() and self._status == "in_progress" and now() < self._batch.expires_at

    def _validate(self) -> bool:
        """Check a copy of the input file; False if the batch has failed."""
        try:
            self._store.files.place(self._batch.input_file_id, self._input)
            check = check_input(self._input, self._batch.endpoint)
        except (NotFoundError, FileNotFoundError):
            check = InputCheck(0, None, [_NO_INPUT])
        except CorruptDataError as error:
            check = InputCheck(0, None, [BatchError(code=str(error.code), message=error.message)])
        self._total = check.total
        columns: dict[str, Any] = {"model": check.model, "request_counts": request_counts(self._total, self._results)}
        if check.errors:
            columns["errors"] = BatchErrors(data=check.errors).model_dump()
        to: BatchStatus = "failed" if check.errors else "in_progress"
        if not self._store.batches.transition(self._batch.id, ("validating",), to, **columns):
            to = "cancelling"
        self._status, self._validated = to, to == "in_progress"
        return to != "failed"

    def _take_over(self) -> bool:
        """Fetch the input of a batch that another machine began; False if it is gone, which fails the batch.

        Its results so far are on that machine, so every line is answered again.
        """
        try:
            self._store.files.place(self._batch.input_file_id, self._input)
        except (NotFoundError, FileNotFoundError):
            errors = BatchErrors(data=[_NO_INPUT]).model_dump()
            self._store.batches.transition(self._batch.id, OPEN, "failed", errors=errors)
            return False
        if self._status == "finalizing":
            self._status = "in_progress"
        return True

    def _answer(self) -> None:
        """Answer the lines; returns when every line has a result, the batch was cancelled or has expired, or the
        worker stops."""
        task = LoopTask(self._context.application.loop, self._answer_lines())
        try:
            while not task.wait(_PROGRESS_S) and self._continues():
                self._save_progress()
            if task.wait(0):
                task.result()
        finally:
            task.cancel()

    def _continues(self) -> bool:
        must_stop = self._claim_lost.is_set() or self._context.stop.is_set() or now() >= self._batch.expires_at
        return self._status == "in_progress" and not must_stop

    def _save_progress(self) -> None:
        columns = progress_columns(self._total, self._results)
        if columns == self._saved:
            return
        self._saved = columns
        if self._store.batches.queue.heartbeat(self._batch.id, self._owner, **columns) is None:
            self._claim_lost.set()

    async def _answer_lines(self) -> None:
        # Lines that were started and have no result, including those that wait for a retry.
        slots = asyncio.Semaphore(self._context.settings.batch_concurrency)
        async with asyncio.TaskGroup() as group:
            for line in read_lines(self._input):
                if line.number not in self._results:
                    await slots.acquire()
                    task = group.create_task(self._answer_line(line))
                    task.add_done_callback(lambda _: slots.release())

    async def _answer_line(self, line: Line) -> None:
        refused = next((name for name in ("stream", "background") if line.body.get(name)), None)
        if refused:
            message = f"Invalid '{refused}': requests of a batch are neither streamed nor put into the background."
            error = BadRequestError(message, param=refused)
            response = httpx.Response(error.status, json=error.body())
        else:
            batch = self._batch
            with seeded(f"{batch.id}/{line.number}"):  # a line that is answered again after a crash is stored once
                response = await self._context.application.post(batch.project, batch.endpoint, line.body, self._gate)
        status, body = read_response(response)
        result = {"status_code": status, "request_id": response.headers.get("x-request-id", ""), "body": body}
        succeeded = 200 <= status < 300
        usage = token_counts(body.get("usage")) if succeeded else {}
        self._results.add(line.number, succeeded=succeeded, usage=usage, result=result_row(line, result, None))

    def _finish(self) -> None:
        """Create the result files and end the batch. After a crash in between, only the remaining steps are
        repeated."""
        batches, batch_id = self._store.batches, self._batch.id
        if self._status == "in_progress" and not batches.transition(
            batch_id, ("in_progress", "finalizing"), "finalizing"
        ):
            self._status = "cancelling"
        outcome: BatchStatus = "completed"
        if self._status == "cancelling":
            outcome = "cancelled"
        elif any(line.number not in self._results for line in self._lines()):
            outcome = "expired"
        BatchOutput(self._store, self._batch, self._results).write(self._lines, outcome)
        columns = progress_columns(self._total, self._results)
        batches.transition(batch_id, ("finalizing", "cancelling"), outcome, **columns)

    def _lines(self) -> Iterator[Line]:
        """Empty for a batch that was cancelled before its input was validated."""
        return read_lines(self._input) if self._validated else iter(())
