"""`File`: an uploaded file, or one that a job wrote."""

from typing import Literal

from luthier.types.common import Response

FilePurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


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
