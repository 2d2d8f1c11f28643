"""`/v1/files`."""

import re
import shutil
from typing import IO, Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from luthier.server.state import State, StateOf
from luthier.server.validation import validated
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, PayloadTooLargeError
from luthier.types.files import FileDeleted, FileObject, FilePurpose

router = APIRouter(prefix="/v1/files", tags=["files"])


class _Fields(BaseModel):
    """What comes with the file; form fields are text."""

    model_config = ConfigDict(extra="forbid")
    purpose: FilePurpose
    expires_after_anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    expires_after_seconds: Annotated[int, Field(ge=3600, le=2592000)] | None = Field(
        None, alias="expires_after[seconds]"
    )


@router.post("")
async def create(request: Request, state: StateOf) -> FileObject:
    """Multipart: `file`, `purpose`, and `expires_after[anchor]`, `expires_after[seconds]` if it is to go by itself."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise BadRequestError("A file is sent as multipart/form-data, with the fields `file` and `purpose`.")
    async with request.form(max_files=1, max_fields=8) as form:
        upload, fields = _read(form)
        return await run_in_threadpool(_store, state, upload, fields)


def _read(form: FormData) -> tuple[UploadFile, _Fields]:
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        raise BadRequestError("Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    fields = validated(_Fields, {key: value for key, value in form.items() if key != "file"})
    given = {"anchor": fields.expires_after_anchor, "seconds": fields.expires_after_seconds}
    for name, value in given.items():
        if value is None and any(given.values()):
            param = f"expires_after[{name}]"
            message = f"Missing required parameter: '{param}'."
            raise BadRequestError(message, param=param, code="missing_required_parameter")
    return upload, fields


def _store(state: State, upload: UploadFile, fields: _Fields) -> FileObject:
    limit = state.settings.max_file_bytes
    if (upload.size or 0) > limit:
        raise PayloadTooLargeError(f"The file is larger than {limit:,} bytes.", param="file", code="file_too_large")

    def fill(out: IO[bytes]) -> None:
        shutil.copyfileobj(upload.file, out, 1024 * 1024)

    name = _filename(upload.filename or "")
    return state.store.files.create(name, fields.purpose, fill, expires_after_s=fields.expires_after_seconds)


def _filename(sent: str) -> str:
    """The last part of a path. In forms a quotation mark travels as %22 (the HTML standard's rule)."""
    return re.split(r"[/\\]", sent)[-1].replace("%22", '"') or "upload"


@router.get("")
def list_files(
    state: StateOf,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10000)] = 10000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> ListPage[FileObject]:
    page = state.store.files.list(purpose=purpose, limit=limit, ascending=order == "asc", after=after)
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/{file_id}")
def retrieve(file_id: str, state: StateOf) -> FileObject:
    return state.store.files.retrieve(file_id)


@router.get("/{file_id}/content")
def content(file_id: str, state: StateOf) -> FileResponse:
    file = state.store.files.retrieve(file_id)
    path = state.store.files.path(file_id)
    return FileResponse(path, media_type="application/octet-stream", filename=file.filename)


@router.delete("/{file_id}")
def delete(file_id: str, state: StateOf) -> FileDeleted:
    state.store.files.delete(file_id)
    return FileDeleted(id=file_id)
