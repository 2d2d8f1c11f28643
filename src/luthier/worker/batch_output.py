"""The output of a batch: rows of the result files, token usage and progress."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import httpx

from luthier.store import ClaimedBatch, Store
from luthier.store.batch_results import BatchResults
from luthier.types.batches import BatchStatus, BatchUsage, InputTokensDetails, OutputTokensDetails
from luthier.types.errors import APIError, BadRequestError
from luthier.types.ids import new_id
from luthier.types.json_lines import json_line
from luthier.types.strict_json import parse_json
from luthier.worker.batch_input import Line

_NOT_EXECUTED = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
}


class BatchOutput:
    """Writes the two result files: that of successful requests, and that of failed ones."""

    def __init__(self, store: Store, batch: ClaimedBatch, results: BatchResults) -> None:
        self._store, self._batch, self._results = store, batch, results

    def write(self, lines: Callable[[], Iterator[Line]], outcome: BatchStatus) -> None:
        """Write a result file, unless it has no rows or an earlier run has created it."""
        for column, succeeded in (("output_file_id", True), ("error_file_id", False)):
            rows = self._rows(lines(), succeeded, outcome)
            first = next(rows, None)
            if first is not None:
                name = f"{self._batch.id}_{'output' if succeeded else 'error'}.jsonl"
                fill = partial(_write_rows, itertools.chain([first], rows))
                self._store.batches.attach_results(self._batch, column, name, fill)

    def _rows(self, lines: Iterator[Line], succeeded: bool, outcome: BatchStatus) -> Iterator[dict[str, Any]]:
        """Rows in the order of the input; a request that was not executed is an error with the reason."""
        for line in lines:
            if line.number in self._results:
                if self._results.succeeded(line.number) is succeeded:
                    yield self._results.read(line.number)
            elif not succeeded:
                code, message = _NOT_EXECUTED[outcome]
                yield result_row(line, None, {"code": code, "message": message})


def result_row(line: Line, response: dict[str, Any] | None, error: dict[str, str] | None) -> dict[str, Any]:
    return {"id": new_id("batch_req_"), "custom_id": line.custom_id, "response": response, "error": error}


def read_response(response: httpx.Response) -> tuple[int, dict[str, Any]]:
    """Status and body. An upstream response that is not a JSON object is an error of its line, not of the batch."""
    try:
        body = parse_json(response.content)
    except BadRequestError:
        body = None
    if isinstance(body, dict):
        return response.status_code, body
    error = APIError(f"The answer, of status {response.status_code}, is no JSON object.", code="upstream_unreadable")
    return 502, error.body()


def token_counts(usage: Any) -> dict[str, int]:
    """The counts of a response's `usage`, under the names of either API; 0 for missing ones."""
    sent, written = ("input", "output") if "input_tokens" in (usage or ()) else ("prompt", "completion")
    return {
        "input": _count(usage, f"{sent}_tokens"),
        "cached": _count(usage, f"{sent}_tokens_details", "cached_tokens"),
        "output": _count(usage, f"{written}_tokens"),
        "reasoning": _count(usage, f"{written}_tokens_details", "reasoning_tokens"),
    }


def progress_columns(total: int, results: BatchResults) -> dict[str, Any]:
    """The columns `request_counts` and `usage` of a batch."""
    totals = results.usage
    usage = BatchUsage(
        input_tokens=totals.get("input", 0),
        input_tokens_details=InputTokensDetails(cached_tokens=totals.get("cached", 0)),
        output_tokens=totals.get("output", 0),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=totals.get("reasoning", 0)),
        total_tokens=totals.get("input", 0) + totals.get("output", 0),
    )
    return {"request_counts": request_counts(total, results), "usage": usage.model_dump()}


def request_counts(total: int, results: BatchResults) -> dict[str, int]:
    return {"total": total, "completed": results.completed, "failed": results.failed}


def _count(usage: Any, *path: str) -> int:
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) else 0


def _write_rows(rows: Iterator[dict[str, Any]], out: IO[bytes]) -> None:
    for row in rows:
        out.write(f"{json_line(row)}\n".encode())
