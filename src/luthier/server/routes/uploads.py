"""`/v1/uploads`: files in parts. Parts may come in any order and at once; `complete` says how they go together."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from luthier.server.http.json_body import StrictRoute
from luthier.server.http.multipart import check_size, copied, sent_file
from luthier.server.http.openapi import reads_form
from luthier.server.routes.files import check_kind, filename
from luthier.server.state import StateOf
from luthier.types.errors import BadRequestError
from luthier.types.uploads import CompleteUploadRequest, CreateUploadRequest, Upload, UploadPart

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=StrictRoute)
PART_BYTES = 64 * 1024 * 1024
_LINES = ("text/jsonl", "application/jsonl", "application/x-jsonlines", "application/x-ndjson", "application/json")
_MIME_TYPES = {
    "fine-tune": _LINES,
    "batch": _LINES,
    "vision": ("image/jpeg", "image/png", "image/gif", "image/webp"),
}


class _NoFields(BaseModel):
    model_config = ConfigDict(extra="forbid")


@router.post("")
def create(body: CreateUploadRequest, state: StateOf) -> Upload:
    name = filename(body.filename)
    check_kind(name, body.purpose, body.bytes)
    most = state.settings.max_upload_bytes
    if body.bytes > most:
        message = (
            f"Invalid 'bytes': integer above maximum value. Expected a value <= {most}, but got {body.bytes} instead."
        )
        raise BadRequestError(message, param="bytes", code="integer_above_max_value")
    _check_mime_type(body)
    expires = body.expires_after.seconds if body.expires_after else None
    return state.store.uploads.create(name, body.purpose, body.bytes, file_expires_after_s=expires)


def _check_mime_type(body: CreateUploadRequest) -> None:
    """Files for `assistants` may be of any type: nothing here reads them."""
    wanted = _MIME_TYPES.get(body.purpose)
    if wanted and body.mime_type.partition(";")[0].strip().lower() not in wanted:
        message = (
            f"Invalid 'mime_type': '{body.mime_type}' does not go with purpose '{body.purpose}'. "
            f"Supported values are: {', '.join(repr(name) for name in wanted)}."
        )
        raise BadRequestError(message, param="mime_type", code="invalid_value")


@router.post("/{upload_id}/parts", openapi_extra=reads_form("data", _NoFields))
async def add_part(upload_id: str, request: Request, state: StateOf) -> UploadPart:
    """Multipart, with the bytes in `data`; at most 64 MB."""
    await run_in_threadpool(state.store.uploads.retrieve, upload_id)  # 64 MB need not come in to be told of a 404
    async with sent_file(request, "data", _NoFields) as (part, _):
        check_size(part.size or 0, PART_BYTES, "The part", "data")
        most = state.settings.max_upload_bytes
        return await run_in_threadpool(state.store.uploads.add_part, upload_id, copied(part), most_bytes=most)


@router.post("/{upload_id}/complete")
def complete(upload_id: str, body: CompleteUploadRequest, state: StateOf) -> Upload:
    return state.store.uploads.complete(upload_id, body.part_ids, body.md5)


@router.post("/{upload_id}/cancel")
def cancel(upload_id: str, state: StateOf) -> Upload:
    return state.store.uploads.cancel(upload_id)
