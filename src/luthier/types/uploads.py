"""`Upload`: a file sent in parts, for files too large for one request."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.files import ExpiresAfter, FileObject

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision"]
UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class CreateUploadRequest(Request):
    """`bytes`: size of the complete file; the parts must add up to it."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    purpose: UploadPurpose
    bytes: Annotated[int, Field(ge=0)]
    mime_type: Annotated[str, Field(min_length=1, max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteUploadRequest(Request):
    """`part_ids` in file order; `md5` of the complete file, in hexadecimal."""

    part_ids: Annotated[list[str], Field(max_length=100_000)]
    md5: str | None = None


class Upload(Response):
    """`file` is set once the upload is completed; an upload that is not completed is deleted at `expires_at`."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: UploadStatus
    expires_at: int
    file: FileObject | None = None


class UploadPart(Response):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
