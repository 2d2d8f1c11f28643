"""`Batch`: many requests in an input file, processed in the background into an output file."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Metadata, Request, Response
from luthier.types.files import ExpiresAfter

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
FINAL: tuple[BatchStatus, ...] = ("failed", "completed", "expired", "cancelled")
OPEN: tuple[BatchStatus, ...] = ("validating", "in_progress", "finalizing", "cancelling")
MAX_REQUESTS = 50_000
BATCH_ENDPOINTS = (  # implemented here
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
)
WINDOW_S = 24 * 3600


class CreateBatchRequest(Request):
    """`endpoint` may be any of OpenAI's; those in `BATCH_ENDPOINTS` are served, the others rejected by name."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=256)]
    endpoint: Literal[
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/completions",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/videos",
    ]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchError(Response):
    """`line` counts from 1; null for an error of the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class BatchErrors(Response):
    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(Response):
    total: int = 0
    completed: int = 0
    failed: int = 0


class InputTokensDetails(Response):
    cached_tokens: int = 0


class OutputTokensDetails(Response):
    reasoning_tokens: int = 0


class BatchUsage(Response):
    input_tokens: int = 0
    input_tokens_details: InputTokensDetails = Field(default_factory=InputTokensDetails)
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = Field(default_factory=OutputTokensDetails)
    total_tokens: int = 0


class Batch(Response):
    """Times are in Unix seconds; `model` is set once the file has been validated."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: BatchUsage | None = None
    metadata: dict[str, str] | None = None
