"""`/v1/chat/completions`: who answers, and what is refused."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation import upstream_proxy
from luthier.server.generation.model_param import asked_of
from luthier.server.http.disconnect import while_connected
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads, streams
from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import SERVED_BY, shown
from luthier.server.routes.chat_completions.prepare import prepare
from luthier.server.routes.chat_completions.response import EventStream, Keep, events, whole
from luthier.server.routes.stored_completions import keep
from luthier.server.state import State, StateOf
from luthier.types import chat as types
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], route_class=StrictRoute)


@router.post(
    "",
    response_model=types.ChatCompletion,
    responses={200: {"content": streams(types.ChatCompletionChunk)}},
    openapi_extra=reads(CreateChatCompletionRequest),
)
async def create(request: Request, state: StateOf) -> Response:
    """Plain, or with `stream` as server-sent events. The header `x-luthier-served-by` names the weights.

    The body is a CreateChatCompletionRequest when the model is here; what is asked of a service elsewhere is for that
    service to check.
    """
    asked, target = await asked_of(request, state, CreateChatCompletionRequest)
    if target.upstream:
        return await while_connected(
            request, upstream_proxy.forward(state, target.upstream, asked, "/chat/completions")
        )
    body = validated(CreateChatCompletionRequest, asked)
    _refuse_what_needs_another(body)
    base, engine = await while_connected(request, state.ready(target.base or ""))
    completion = await run_in_threadpool(prepare, state, base, engine, target, body)
    served_by = {SERVED_BY: quote(shown(target.base or ""))}
    kept = _keeper(request, state, body)
    if body.stream:
        completion.start()
        return EventStream(completion, events(completion, kept), served_by)
    made = await while_connected(request, whole(completion))
    if kept:
        await kept(made)
    return JSONResponse(made, headers=served_by)


def _keeper(request: Request, state: State, body: CreateChatCompletionRequest) -> Keep | None:
    """What stores the answer, where it was asked for."""

    async def store(made: dict[str, Any]) -> None:
        await run_in_threadpool(keep, state, body, made, request.state.request_id)

    return store if body.store else None


def _refuse_what_needs_another(body: CreateChatCompletionRequest) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise BadRequestError(message, param="top_logprobs")
    if body.stream_options and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequestError(message, param="stream_options")
