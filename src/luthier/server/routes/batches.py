"""`/v1/batches`: a request becomes a row; `batch_runner` does the rest."""

from typing import Annotated

from fastapi import APIRouter, Query

from luthier.server.background.batch_lines import ENDPOINTS
from luthier.server.http.auth import CallerOf
from luthier.server.http.json_body import StrictRoute
from luthier.server.state import State, StateOf
from luthier.types.batches import Batch, CreateBatchRequest
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.projects import DEFAULT_PROJECT

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=StrictRoute)


@router.post("")
def create(body: CreateBatchRequest, state: StateOf, caller: CallerOf) -> Batch:
    """What can be seen at once is refused here; the file is read when the batch is validated."""
    home = state.within(caller.project or DEFAULT_PROJECT)  # where it will run
    if body.endpoint not in ENDPOINTS:
        message = (
            f"The endpoint '{body.endpoint}' is not available for batches on this server. Supported values are: "
            f"{', '.join(repr(name) for name in ENDPOINTS)}."
        )
        raise BadRequestError(message, param="endpoint", code="unsupported_value")
    _require_file(home, body.input_file_id)
    return state.store.batches.create(
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        output_expires_after_s=body.output_expires_after.seconds if body.output_expires_after else None,
    )


def _require_file(state: State, file_id: str) -> None:
    try:
        file = state.store.files.retrieve(file_id)
    except NotFoundError:
        raise BadRequestError(f"invalid input_file_id: {file_id}", param="input_file_id") from None
    if file.purpose != "batch":
        message = f"File '{file_id}' has purpose '{file.purpose}'; a batch needs a file with purpose 'batch'."
        raise BadRequestError(message, param="input_file_id")


@router.get("")
def list_batches(
    state: StateOf, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> ListPage[Batch]:
    page = state.store.batches.list(limit=limit, after=after)
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/{batch_id}")
def retrieve(batch_id: str, state: StateOf) -> Batch:
    return state.store.batches.retrieve(batch_id)


@router.post("/{batch_id}/cancel")
def cancel(batch_id: str, state: StateOf) -> Batch:
    """Answers `cancelling`; `cancelled`, with a file of what was answered by then, follows at once."""
    return state.store.batches.cancel(batch_id)
