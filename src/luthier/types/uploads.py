"""`Upload`: a file that comes in parts, for files that are too large for one request."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.files import ExpiresAfter, FileObject

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision"]
UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class CreateUploadRequest(Request):
    """`bytes`: the size of the whole file, which its parts must add up to."""

    filename: Annotated[str, Field(min_length=1, max_length=1024)]
    purpose: UploadPurpose
    bytes: Annotated[int, Field(ge=0)]
    mime_type: Annotated[str, Field(min_length=1, max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteUploadRequest(Request):
    """`part_ids` in the order in which the parts make the file; `md5` of the whole file, in hexadecimal."""

    part_ids: Annotated[list[str], Field(max_length=100_000)]
    md5: str | None = None


class Upload(Response):
    """`file` is there once the upload is completed; `expires_at` is when an upload that is not goes."""

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
