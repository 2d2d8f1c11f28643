"""`/v1/uploads`: files in parts. Parts may arrive in any order and at once; `complete` names their order."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from luthier.server.http.body_limits import PART_BYTES
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.multipart import check_size, parse_form, stored_at
from luthier.server.http.openapi import reads_form
from luthier.server.routes.files import base_name, check_purpose
from luthier.server.state import StateDep
from luthier.types.errors import BadRequestError
from luthier.types.uploads import CompleteUploadRequest, CreateUploadRequest, Upload, UploadPart

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=StrictRoute)
_JSONL_TYPES = (
    "text/jsonl",
    "application/jsonl",
    "application/x-jsonlines",
    "application/x-ndjson",
    "application/json",
)
_MIME_TYPES = {
    "fine-tune": _JSONL_TYPES,
    "batch": _JSONL_TYPES,
    "vision": ("image/jpeg", "image/png", "image/gif", "image/webp"),
}


class _NoFields(BaseModel):
    model_config = ConfigDict(extra="forbid")


@router.post("")
def create(body: CreateUploadRequest, state: StateDep) -> Upload:
    name = base_name(body.filename)
    check_purpose(name, body.purpose, body.bytes, name_param="filename", size_param="bytes")
    limit = state.settings.max_upload_bytes
    if body.bytes > limit:
        message = (
            f"Invalid 'bytes': integer above maximum value. Expected a value <= {limit}, but got {body.bytes} instead."
        )
        raise BadRequestError(message, param="bytes", code="integer_above_max_value")
    _check_mime_type(body)
    expires_after_s = body.expires_after.seconds if body.expires_after else None
    return state.store.uploads.create(name, body.purpose, body.bytes, file_expires_after_s=expires_after_s)


def _check_mime_type(body: CreateUploadRequest) -> None:
    """Check the MIME type; files with other purposes may have any type, since the server never reads them."""
    supported = _MIME_TYPES.get(body.purpose)
    if supported and body.mime_type.partition(";")[0].strip().lower() not in supported:
        message = (
            f"Invalid 'mime_type': '{body.mime_type}' is not allowed with purpose '{body.purpose}'. "
            f"Supported values are: {', '.join(repr(name) for name in supported)}."
        )
        raise BadRequestError(message, param="mime_type", code="invalid_value")


@router.post("/{upload_id}/parts", openapi_extra=reads_form("data", _NoFields))
async def add_part(upload_id: str, request: Request, state: StateDep) -> UploadPart:
    """Multipart, with the bytes in `data`; at most 64 MB."""
    await run_in_threadpool(state.store.uploads.retrieve, upload_id)  # a 404 before 64 MB are received
    async with parse_form(request, "data", _NoFields, state.store.uploads.folder) as (part, _):
        check_size(part.size or 0, PART_BYTES, "The part", "data")
        limit = state.settings.max_upload_bytes
        return await run_in_threadpool(state.store.uploads.add_part, upload_id, await stored_at(part), max_bytes=limit)


@router.post("/{upload_id}/complete")
def complete(upload_id: str, body: CompleteUploadRequest, state: StateDep) -> Upload:
    return state.store.uploads.complete(upload_id, body.part_ids, body.md5)


@router.post("/{upload_id}/cancel")
def cancel(upload_id: str, state: StateDep) -> Upload:
    return state.store.uploads.cancel(upload_id)
