"""`/v1/moderations`: forwarded to the upstream service under an alias set by the operator; no local model moderates."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.upstream_proxy import forward
from luthier.server.http.disconnect import cancel_on_disconnect
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads
from luthier.server.http.pydantic_errors import validated
from luthier.server.state import State, StateDep
from luthier.types.errors import NotFoundError
from luthier.types.moderations import CreateModerationRequest

router = APIRouter(prefix="/v1/moderations", tags=["moderations"], route_class=StrictRoute)


@router.post("", openapi_extra=reads(CreateModerationRequest))
async def create(request: Request, state: StateDep) -> Response:
    """The body is a CreateModerationRequest. Without such an alias the error says that moderation is not available."""
    raw: dict[str, Any] = await request.json()
    name = validated(CreateModerationRequest, raw).model
    upstream_model = await run_in_threadpool(_upstream_model, state, name)
    return await cancel_on_disconnect(request, forward(state, upstream_model, {**raw, "model": name}, "/moderations"))


def _upstream_model(state: State, name: str) -> str:
    """Raises NotFoundError."""
    try:
        upstream_model = state.models.resolve(name).upstream_model
    except NotFoundError:
        upstream_model = None
    if upstream_model is None:
        raise NotFoundError(
            f"The model `{name}` is not available for moderation: no model on this server rates content. Its operator "
            f'can name an upstream model, as in --aliases \'{{"{name}": "upstream:{name}"}}\'.',
            param="model",
            code="model_not_found",
        )
    return upstream_model
