"""`/v1/moderations`: by a service elsewhere, under a name that the operator gave; no model here judges content."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation import upstream_proxy
from luthier.server.http.disconnect import while_connected
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads
from luthier.server.http.pydantic_errors import validated
from luthier.server.state import State, StateOf
from luthier.types.errors import NotFoundError
from luthier.types.moderations import CreateModerationRequest

router = APIRouter(prefix="/v1/moderations", tags=["moderations"], route_class=StrictRoute)


@router.post("", openapi_extra=reads(CreateModerationRequest))
async def create(request: Request, state: StateOf) -> Response:
    """The body is a CreateModerationRequest. Without such a name the answer is that moderation is not available."""
    asked: dict[str, Any] = await request.json()
    name = validated(CreateModerationRequest, asked).model
    far = await run_in_threadpool(_elsewhere, state, name)
    return await while_connected(request, upstream_proxy.forward(state, far, {**asked, "model": name}, "/moderations"))


def _elsewhere(state: State, name: str) -> str:
    """Raises NotFoundError."""
    try:
        found = state.names.resolve(name).upstream
    except NotFoundError:
        found = None
    if found is None:
        raise NotFoundError(
            f"The model `{name}` is not available for moderation: no model on this server judges content. Its operator "
            f'can name one of a service elsewhere, as in --aliases \'{{"{name}": "upstream:{name}"}}\'.',
            param="model",
            code="model_not_found",
        )
    return found
