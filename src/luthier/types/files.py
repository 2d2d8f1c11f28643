"""`File`: an uploaded file, or the output of a job or batch."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response

FilePurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
BATCH_FILE_BYTES = 200 * 1024 * 1024
BATCH_FILE_S = 30 * 24 * 3600  # default expiry of batch files


class ExpiresAfter(Request):
    """Expiry in seconds after the file's creation, from an hour to 30 days."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2592000)]


class FileObject(Response):
    """`bytes` is the size of the content; `expires_at` is Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None


class FileDeleted(Response):
    id: str
    object: Literal["file"] = "file"
    deleted: bool = True
