"""`/v1/files`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from luthier.server.http.multipart import check_size, parse_form, stored_at
from luthier.server.http.openapi import reads_form
from luthier.server.http.pagination import list_page
from luthier.server.state import StateDep
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.files import BATCH_FILE_BYTES, FileDeleted, FileObject, FilePurpose

router = APIRouter(prefix="/v1/files", tags=["files"])


class FileForm(BaseModel):
    """The fields beside the file; form fields are text."""

    model_config = ConfigDict(extra="forbid")
    purpose: FilePurpose
    expires_after_anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    expires_after_seconds: Annotated[int, Field(ge=3600, le=2592000)] | None = Field(
        None, alias="expires_after[seconds]"
    )


@router.post("", openapi_extra=reads_form("file", FileForm))
async def create(request: Request, state: StateDep) -> FileObject:
    """Multipart: `file`, `purpose`, and optionally `expires_after[anchor]` and `expires_after[seconds]`."""
    async with parse_form(request, "file", FileForm, state.store.files.folder) as (upload, fields):
        _check_expiry(fields)
        name, size_bytes = base_name(upload.filename or ""), upload.size or 0
        check_purpose(name, fields.purpose, size_bytes)
        check_size(size_bytes, state.settings.max_file_bytes, "The file", "file")
        if not size_bytes:
            raise BadRequestError("File is empty.", param="file")
        expires_after_s = fields.expires_after_seconds
        return await run_in_threadpool(
            state.store.files.create, name, fields.purpose, await stored_at(upload), expires_after_s=expires_after_s
        )


def _check_expiry(fields: FileForm) -> None:
    expiry = {"anchor": fields.expires_after_anchor, "seconds": fields.expires_after_seconds}
    for name, value in expiry.items():
        if value is None and any(expiry.values()):
            param = f"expires_after[{name}]"
            message = f"Missing required parameter: '{param}'."
            raise BadRequestError(message, param=param, code="missing_required_parameter")


def base_name(path: str) -> str:
    """The last part of a path. Forms encode a quotation mark as %22 (the HTML standard's rule)."""
    return re.split(r"[/\\]", path)[-1].replace("%22", '"') or "upload"


def check_purpose(
    name: str, purpose: str, size_bytes: int, *, name_param: str = "file", size_param: str = "file"
) -> None:
    """Checks the file extension and the size that the purpose allows. Raises BadRequestError.

    `name_param`, `size_param`: the parameters that an error names.
    """
    api = {"fine-tune": "Fine-Tuning", "batch": "Batch"}.get(purpose)
    if api and not name.lower().endswith(".jsonl"):
        raise BadRequestError(f"Invalid file format for {api} API. Must be .jsonl", param=name_param)
    if purpose == "batch":
        check_size(size_bytes, BATCH_FILE_BYTES, "A file for batches", size_param)


@router.get("")
def list_files(
    state: StateDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10000)] = 10000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> ListPage[FileObject]:
    page = state.store.files.list(purpose=purpose, limit=limit, ascending=order == "asc", after=after)
    return list_page(page)


@router.get("/{file_id}")
def retrieve(file_id: str, state: StateDep) -> FileObject:
    return state.store.files.retrieve(file_id)


@router.get(
    "/{file_id}/content", response_class=FileResponse, responses={200: {"content": {"application/octet-stream": {}}}}
)
def content(file_id: str, state: StateDep) -> FileResponse:
    file = state.store.files.retrieve(file_id)
    path = state.store.files.path(file_id)
    return _FileContent(path, media_type="application/octet-stream", filename=file.filename)


class _FileContent(FileResponse):
    """Raises our errors for a file that was deleted meanwhile, and for a byte range that the file does not have."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: list[Message] = []  # held back until the file is open: an error can be sent only before it

        async def send_or_raise(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    raise _range_error(message)
                start.append(message)
                return
            while start:
                await send(start.pop())
            await send(message)

        try:
            await super().__call__(scope, receive, send_or_raise)
        except (RuntimeError, FileNotFoundError) as error:
            if await run_in_threadpool(Path(self.path).exists):
                raise
            raise NotFoundError(f"No such File object: {scope['path_params']['file_id']}", param="id") from error


def _range_error(response_start: Message) -> BadRequestError:
    size = Headers(raw=response_start["headers"]).get("content-range")
    error = BadRequestError(
        "The header Range selects no bytes of this file.", headers={"content-range": size} if size else None
    )
    error.status = response_start["status"]
    return error


@router.get("/{file_id}/report")
def report(file_id: str, state: StateDep) -> dict[str, Any]:
    """Specific to Luthier: all findings of a job's validation of this file."""
    return state.store.files.report(file_id)


@router.delete("/{file_id}")
def delete(file_id: str, state: StateDep) -> FileDeleted:
    state.store.files.delete(file_id)
    return FileDeleted(id=file_id)
