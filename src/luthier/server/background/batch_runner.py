"""Batches are run here, beside the routes: each line is sent through the application itself, as its own request.

So a line is checked, answered and refused exactly as it would be over HTTP. Lines run in the background: engines
give their answers a turn only now and then while others wait (`luthier.inference.low_priority`).
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

import httpx
from sqlalchemy import RowMapping
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from luthier.inference import low_priority
from luthier.server.background import loopback_client
from luthier.server.background.batch_lines import Checked, Line, check, read
from luthier.server.http.json_body import parse_json
from luthier.server.state import AppState
from luthier.store.batch_results import Journal
from luthier.types.batches import (
    OPEN,
    WINDOW_S,
    BatchError,
    BatchErrors,
    BatchStatus,
    BatchUsage,
    InputTokensDetails,
    OutputTokensDetails,
)
from luthier.types.common import new_id, now
from luthier.types.errors import APIError, BadRequestError, NotFoundError

_log = logging.getLogger(__name__)
_POLL_S = 0.5
_RENEW_S = 1.0
_TOGETHER = 4  # batches under way at once; the rest wait
_NEVER_RUN = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}


class BatchRunner:
    """`run` until cancelled. Batches that are under way then go on where they were when a server starts again."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app, self._state = app, state
        self._owner = new_id("runner-", 12)
        self._gate = asyncio.Semaphore(state.settings.batch_concurrency)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        low_priority.set(True)
        store = self._state.store.batches
        try:
            while True:
                try:
                    for row in await run_in_threadpool(store.claim, self._owner, _TOGETHER - len(self._under_way)):
                        if row["id"] in self._under_way:
                            continue  # a step took longer than the lease, and nobody else came
                        task = asyncio.create_task(self._guarded(row))
                        self._under_way[row["id"]] = task
                        task.add_done_callback(partial(self._forget, row["id"]))
                except Exception:
                    _log.exception("the batch runner met an unforeseen error and goes on")
                await asyncio.sleep(_POLL_S)
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _forget(self, batch_id: str, _: asyncio.Task[None]) -> None:
        self._under_way.pop(batch_id)

    async def _guarded(self, row: RowMapping) -> None:
        """A fault of the machine may pass: the batch is tried again, from its journal, when its lease runs out, and
        given up when its time is over.
        """
        store, passing = self._state.store.batches, False
        try:
            batch = await run_in_threadpool(_Run, self._app, self._state, row, self._owner, self._gate)
            await batch.run()
        except Exception as error:
            _log.exception("batch %s met an unforeseen error", row["id"])
            passing = now() < row["expires_at"]
            if not passing:
                said = BatchError(code="server_error", message=f"{type(error).__name__}: {error}")
                errors = BatchErrors(data=[said]).model_dump()
                await run_in_threadpool(store.transition, row["id"], OPEN, "failed", errors=errors)
        finally:
            if not passing:
                await asyncio.shield(run_in_threadpool(store.release, row["id"], self._owner))


class _LostError(Exception):
    """The batch is in the hands of another runner."""


class _Run:
    """One batch, from wherever it stands to its end."""

    def __init__(self, app: ASGIApp, state: AppState, row: RowMapping, owner: str, gate: asyncio.Semaphore) -> None:
        self._store, self._row, self._id, self._owner, self._gate = state.store, row, str(row["id"]), owner, gate
        self._status: BatchStatus = row["status"]
        self._validated, self._total = row["in_progress_at"] is not None, int(row["request_counts"]["total"])
        folder = self._store.batches.folder(row)
        self._input, self._journal = folder / "input.jsonl", Journal(folder / "journal.jsonl")
        self._app = app
        # Lines begun and not answered, those that wait to be asked again among them.
        self._places = asyncio.Semaphore(state.settings.batch_concurrency)

    async def run(self) -> None:
        try:
            if self._status == "validating" and not await run_in_threadpool(self._validate):
                return
            if self._status == "in_progress":
                await self._answer()
            await run_in_threadpool(self._finish)
        except _LostError:
            _log.warning("batch %s was taken over by another runner", self._id)
        finally:
            self._journal.close()

    def _validate(self) -> bool:
        """A copy of the input of our own, what is wrong with it, and whether the batch goes on."""
        try:
            self._store.files.copy(self._row["input_file_id"], self._input)
            found = check(self._input, self._row["endpoint"])
        except (NotFoundError, FileNotFoundError):
            gone = BatchError(code="invalid_input_file", message="The input file does not exist any more.")
            found = Checked(0, None, [gone])
        self._total = found.total
        values: dict[str, Any] = {"model": found.model, "request_counts": self._counts()}
        if found.errors:
            values["errors"] = BatchErrors(data=found.errors).model_dump()
        to: BatchStatus = "failed" if found.errors else "in_progress"
        if not self._store.batches.transition(self._id, ("validating",), to, **values):
            to = "cancelling"  # meanwhile
        self._status, self._validated = to, to == "in_progress"
        return to != "failed"

    async def _answer(self) -> None:
        """Until every line is answered, the batch is cancelled, or its time is over."""
        async with loopback_client.client(self._app, self._row["project"], WINDOW_S) as client:
            answering = asyncio.create_task(self._answer_lines(client))
            try:
                while not answering.done() and self._status == "in_progress" and now() < self._row["expires_at"]:
                    await asyncio.wait({answering}, timeout=_RENEW_S)
                    await run_in_threadpool(self._renew, self._progress())
                if answering.done():
                    answering.result()
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    def _renew(self, progress: dict[str, Any]) -> None:
        status = self._store.batches.renew(self._id, self._owner, **progress)
        if status is None:
            raise _LostError
        self._status = status

    async def _answer_lines(self, client: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            for line in read(self._input):
                if line.number not in self._journal:
                    await self._places.acquire()
                    task = group.create_task(self._answer_line(client, line))
                    task.add_done_callback(lambda _: self._places.release())

    async def _answer_line(self, client: httpx.AsyncClient, line: Line) -> None:
        if line.body.get("stream"):
            refused = BadRequestError("Invalid 'stream': requests of a batch are not streamed.", param="stream")
            response = httpx.Response(refused.status, json=refused.body())
        else:
            response = await loopback_client.post(client, self._row["endpoint"], line.body, self._gate)
        status, body = _read(response)
        answer = {"status_code": status, "request_id": response.headers.get("x-request-id", ""), "body": body}
        good = 200 <= status < 300
        usage = _counted(body.get("usage")) if good else {}
        self._journal.add(line.number, good=good, usage=usage, result=_result(line, answer, None))

    def _finish(self) -> None:
        """Results into files, and the batch to its end; after a crash in between the rest is done again."""
        if self._status == "in_progress" and not self._store.batches.transition(
            self._id, ("in_progress",), "finalizing"
        ):
            self._status = "cancelling"
        outcome: BatchStatus = "completed"
        if self._status == "cancelling":
            outcome = "cancelled"
        elif any(line.number not in self._journal for line in self._lines()):
            outcome = "expired"
        for column, good in (("output_file_id", True), ("error_file_id", False)):
            results = self._results(good, outcome)
            first = next(results, None)
            if first is not None:
                name = f"{self._id}_{'output' if good else 'error'}.jsonl"
                self._store.batches.keep_file(
                    self._row, column, name, partial(_write, itertools.chain([first], results))
                )
        self._store.batches.transition(self._id, ("finalizing", "cancelling"), outcome, **self._progress())

    def _lines(self) -> Iterator[Line]:
        return read(self._input) if self._validated else iter(())

    def _results(self, good: bool, outcome: BatchStatus) -> Iterator[dict[str, Any]]:
        """In the order of the input; what was never run is an error that says why."""
        for line in self._lines():
            if line.number in self._journal:
                if self._journal.is_good(line.number) is good:
                    yield self._journal.result(line.number)
            elif not good:
                code, message = _NEVER_RUN[outcome]
                yield _result(line, None, {"code": code, "message": message})

    def _counts(self) -> dict[str, int]:
        return {"total": self._total, "completed": self._journal.good, "failed": self._journal.bad}

    def _progress(self) -> dict[str, Any]:
        used = self._journal.usage
        usage = BatchUsage(
            input_tokens=used.get("input", 0),
            input_tokens_details=InputTokensDetails(cached_tokens=used.get("cached", 0)),
            output_tokens=used.get("output", 0),
            output_tokens_details=OutputTokensDetails(reasoning_tokens=used.get("reasoning", 0)),
            total_tokens=used.get("input", 0) + used.get("output", 0),
        )
        return {"request_counts": self._counts(), "usage": usage.model_dump()}


def _read(response: httpx.Response) -> tuple[int, dict[str, Any]]:
    """Status and body. What a service elsewhere sends need not be JSON: an error of its line, not of the batch."""
    try:
        body = parse_json(response.content)
    except BadRequestError:
        body = None
    if isinstance(body, dict):
        return response.status_code, body
    error = APIError(f"The answer, of status {response.status_code}, is no JSON object.", code="upstream_unreadable")
    return 502, error.body()


def _counted(usage: Any) -> dict[str, int]:
    return {
        "input": _count(usage, "prompt_tokens"),
        "cached": _count(usage, "prompt_tokens_details", "cached_tokens"),
        "output": _count(usage, "completion_tokens"),
        "reasoning": _count(usage, "completion_tokens_details", "reasoning_tokens"),
    }


def _count(usage: Any, *way: str) -> int:
    for name in way:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) else 0


def _result(line: Line, response: dict[str, Any] | None, error: dict[str, str] | None) -> dict[str, Any]:
    return {"id": new_id("batch_req_"), "custom_id": line.custom_id, "response": response, "error": error}


def _write(results: Iterator[dict[str, Any]], out: IO[bytes]) -> None:
    for result in results:
        out.write(json.dumps(result, ensure_ascii=False).encode() + b"\n")
