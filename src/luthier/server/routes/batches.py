"""`/v1/batches`: a request becomes a row, which the batch runner claims."""

from typing import Annotated

from fastapi import APIRouter, Query

from luthier.server.http.auth import CallerDep
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import list_page
from luthier.server.routes.input_files import require_file
from luthier.server.state import StateDep
from luthier.types.batches import BATCH_ENDPOINTS, Batch, CreateBatchRequest
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError
from luthier.types.projects import DEFAULT_PROJECT

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=StrictRoute)


@router.post("")
def create(body: CreateBatchRequest, state: StateDep, caller: CallerDep) -> Batch:
    """Rejects requests that are invalid by themselves; the input file is checked when the batch is validated."""
    owner = state.within(caller.project or DEFAULT_PROJECT)  # the project that the batch runs for
    if body.endpoint not in BATCH_ENDPOINTS:
        message = (
            f"The endpoint '{body.endpoint}' is not available for batches on this server. Supported values are: "
            f"{', '.join(repr(name) for name in BATCH_ENDPOINTS)}."
        )
        raise BadRequestError(message, param="endpoint", code="unsupported_value")
    require_file(owner, body.input_file_id, "input_file_id", ("batch",), "a batch needs a file with purpose 'batch'")
    return state.store.batches.create(
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        output_expires_after_s=body.output_expires_after.seconds if body.output_expires_after else None,
    )


@router.get("")
def list_batches(
    state: StateDep, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> ListPage[Batch]:
    return list_page(state.store.batches.list(limit=limit, after=after))


@router.get("/{batch_id}")
def retrieve(batch_id: str, state: StateDep) -> Batch:
    return state.store.batches.retrieve(batch_id)


@router.post("/{batch_id}/cancel")
def cancel(batch_id: str, state: StateDep) -> Batch:
    """The batch becomes `cancelling`, and `cancelled` once the results so far are in its output file."""
    return state.store.batches.cancel(batch_id)
