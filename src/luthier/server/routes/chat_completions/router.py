"""`/v1/chat/completions`."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.endpoint import CompletionEndpoint, respond
from luthier.server.generation.response import OnComplete
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads, streams
from luthier.server.routes.chat_completions.capture import capture
from luthier.server.routes.chat_completions.response import prepare
from luthier.server.routes.stored_completions import store_completion
from luthier.server.state import State, StateDep
from luthier.types import chat as types
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], route_class=StrictRoute)


_ROLES_WITH_CONTENT = ("user", "system", "developer", "tool")


def _check(body: CreateChatCompletionRequest) -> None:
    if body.top_logprobs is not None and not body.logprobs:
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise BadRequestError(message, param="top_logprobs")
    for index, message_param in enumerate(body.messages):
        if message_param.role in _ROLES_WITH_CONTENT and not message_param.content and message_param.content != "":
            _refuse_content(message_param, f"messages[{index}].content")


def _refuse_content(message: types.Message, param: str) -> None:
    """Raises BadRequestError, in OpenAI's words."""
    if message.content is None:
        raise BadRequestError("Invalid value for 'content': expected a string, got null.", param=param)
    text = f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    raise BadRequestError(text, param=param, code="empty_array")


def _store(request: Request, state: State, body: CreateChatCompletionRequest) -> OnComplete | None:
    async def store(response: dict[str, Any]) -> None:
        await run_in_threadpool(store_completion, state, body, response, request.state.request_id)

    return store if body.store else None


_ENDPOINT = CompletionEndpoint(
    "/chat/completions", CreateChatCompletionRequest, _check, prepare, on_complete=_store, on_upstream_answer=capture
)


@router.post(
    "",
    response_model=types.ChatCompletion,
    responses={200: {"content": streams(types.ChatCompletionChunk)}},
    openapi_extra=reads(CreateChatCompletionRequest),
)
async def create(request: Request, state: StateDep) -> Response:
    """Plain, or with `stream` as server-sent events. The header `x-luthier-served-by` names the weights.

    The body is a CreateChatCompletionRequest for local models; the upstream service validates requests for its own
    models.
    """
    return await respond(_ENDPOINT, request, state)
