"""`/v1/completions`: plain text goes on. Who answers, and what is refused."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation import upstream_proxy
from luthier.server.generation.model_param import asked_of
from luthier.server.generation.request import check_choices
from luthier.server.http.disconnect import while_connected
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads, streams
from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import SERVED_BY, shown
from luthier.server.routes.chat_completions.response import EventStream
from luthier.server.routes.completions.prepare import prepare, score_echoes
from luthier.server.routes.completions.response import events, whole
from luthier.server.state import StateOf
from luthier.types.completions import CreateCompletionRequest, TextCompletion
from luthier.types.errors import BadRequestError

router = APIRouter(prefix="/v1/completions", tags=["completions"], route_class=StrictRoute)


@router.post(
    "",
    response_model=TextCompletion,
    responses={200: {"content": streams(TextCompletion)}},
    openapi_extra=reads(CreateCompletionRequest),
)
async def create(request: Request, state: StateOf) -> Response:
    """Plain, or with `stream` as server-sent events; the body is a CreateCompletionRequest.

    A text is continued as it stands, special tokens in it included. To a model that was trained on pairs of prompt and
    completion it is sent in the form in which the prompts of the pairs were; token ids are always sent as they are.
    """
    asked, target = await asked_of(request, state, CreateCompletionRequest)
    if target.upstream:
        return await while_connected(request, upstream_proxy.forward(state, target.upstream, asked, "/completions"))
    body = validated(CreateCompletionRequest, asked)
    _refuse_what_does_not_go_together(body)
    base, engine = await while_connected(request, state.ready(target.base or ""))
    completion = await run_in_threadpool(prepare, state, base, engine, target, body)
    served_by = {SERVED_BY: quote(shown(target.base or ""))}
    if body.stream:
        check_choices(len(completion.generations), state.settings.queue_limit)
    await while_connected(request, score_echoes(completion))
    if body.stream:
        completion.start()
        return EventStream(completion, events(completion), served_by)
    half = max(1, state.settings.queue_limit // 2)  # the other places are for other requests of the same key
    made = await while_connected(request, whole(completion, at_once=half))
    return JSONResponse(made, headers=served_by)


def _refuse_what_does_not_go_together(body: CreateCompletionRequest) -> None:
    n, best_of = body.n or 1, body.best_of or body.n or 1
    if body.suffix:
        message = (
            "Unsupported parameter: 'suffix' is not available on this server: its models continue a text and "
            "were not taught to fill a gap."
        )
        raise BadRequestError(message, param="suffix", code="unsupported_parameter")
    if best_of < n:
        message = (
            "You requested that the server return more choices than it will generate (HINT: you must set 'n' "
            f"(currently {n}) to be at most 'best_of' (currently {best_of}), or omit either parameter if you don't "
            "specifically want to use them)."
        )
        raise BadRequestError(message, param="best_of")
    if body.stream and best_of > n:
        raise BadRequestError("Invalid 'best_of': the best of several cannot be streamed.", param="best_of")
    if body.stream_options and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequestError(message, param="stream_options")
