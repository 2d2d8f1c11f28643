"""Processing of a completion request, from its JSON body to its response, for chat and plain completions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.choice_limits import check_choice_count, max_running_choices
from luthier.server.generation.model_param import resolve_model
from luthier.server.generation.response import OnComplete, ResponseWriter, complete_response, streamed_response
from luthier.server.generation.upstream_proxy import OnAnswer, UpstreamCall, forward_unless_gone
from luthier.server.http.disconnect import cancel_on_disconnect
from luthier.server.http.pydantic_errors import validated
from luthier.server.model_loader import LoadedModel
from luthier.server.model_resolver import SERVED_BY, ResolvedModel
from luthier.server.state import State
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError

Body = TypeVar("Body", CreateChatCompletionRequest, CreateCompletionRequest)


@dataclass(frozen=True)
class CompletionEndpoint(Generic[Body]):
    """The differences between the two endpoints.

    Attributes:
        path: The endpoint's path at the upstream service.
        schema: The model of the request body.
        check: Raises BadRequestError for parameters that exclude each other.
        prepare: Renders and tokenizes; runs in a worker thread. Raises APIError, RenderError.
        queue_share: The share of the queue that one unstreamed request may fill.
        on_complete: Returns the callback for the complete response, if there is one.
        on_upstream_answer: Returns the callback for a successful response of the upstream service, if there is one.
    """

    path: str
    schema: type[Body]
    check: Callable[[Body], None]
    prepare: Callable[[State, LoadedModel, Body], ResponseWriter]
    queue_share: float = 1.0
    on_complete: Callable[[Request, State, Body], OnComplete | None] = lambda request, state, body: None
    on_upstream_answer: Callable[[Request, State, UpstreamCall], OnAnswer | None] = lambda request, state, call: None


async def respond(endpoint: CompletionEndpoint[Body], request: Request, state: State) -> Response:
    """Return one object, or with `stream` server-sent events; for an upstream model, the upstream service's response.

    A local successor responds once the upstream service no longer has its model. A disconnect of the client ends the
    work.
    """
    raw, target = await resolve_model(request, state, endpoint.schema)
    forwarded = await forwarded_response(request, state, raw, target, endpoint.path, endpoint.on_upstream_answer)
    return forwarded or await _respond_locally(endpoint, request, state, raw, target)


async def forwarded_response(
    request: Request,
    state: State,
    raw: dict[str, Any],
    target: ResolvedModel,
    path: str,
    on_answer: Callable[[Request, State, UpstreamCall], OnAnswer | None] = lambda request, state, call: None,
) -> Response | None:
    """The response of the upstream service; None for a local model and for one that a local successor has replaced."""
    if not target.upstream_model:
        return None
    call = UpstreamCall(target.upstream_model, raw, path)
    forwarding = forward_unless_gone(state, call, target, on_answer(request, state, call))
    return await cancel_on_disconnect(request, forwarding)


def served_by(target: ResolvedModel, model: LoadedModel) -> dict[str, str]:
    """The header of a local answer, which names the weights and says whether they are served in 8 bits."""
    return {SERVED_BY: target.served_by + ("; weights=int8" if model.engine.eight_bits else "")}


async def _respond_locally(
    endpoint: CompletionEndpoint[Body], request: Request, state: State, raw: dict[str, Any], target: ResolvedModel
) -> Response:
    """Respond with a local model: for an upstream model that is gone, its successor."""
    body = _validated(endpoint, raw)
    model = await cancel_on_disconnect(request, state.app.loader.load(target.successor or target))
    writer = await run_in_threadpool(endpoint.prepare, state, model, body)
    headers = served_by(target, model)
    on_complete = endpoint.on_complete(request, state, body)
    if body.stream:
        check_choice_count(state, len(writer.request.engine_requests))
    await cancel_on_disconnect(request, writer.score_prompts())
    if body.stream:
        return streamed_response(writer, headers, on_complete)
    max_running = max_running_choices(state, endpoint.queue_share)
    response = await cancel_on_disconnect(request, complete_response(writer, max_running))
    if on_complete:
        await on_complete(response)
    return JSONResponse(response, headers=headers)


def _validated(endpoint: CompletionEndpoint[Body], raw: dict[str, Any]) -> Body:
    """Raises BadRequestError."""
    body = validated(endpoint.schema, raw)
    endpoint.check(body)
    if body.stream_options and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequestError(message, param="stream_options")
    return body
