"""`/v1/completions`: continues plain text."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from luthier.server.generation.endpoint import CompletionEndpoint, respond
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads, streams
from luthier.server.routes.completions.prepare import prepare
from luthier.server.state import StateDep
from luthier.types.completions import CreateCompletionRequest, TextCompletion
from luthier.types.errors import BadRequestError

router = APIRouter(prefix="/v1/completions", tags=["completions"], route_class=StrictRoute)


def _check(body: CreateCompletionRequest) -> None:
    n, best_of = body.n or 1, body.best_of or body.n or 1
    if body.suffix:
        message = (
            "Unsupported parameter: 'suffix' is not available on this server: its models continue text and were not "
            "trained to fill in the middle."
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
        message = "Invalid 'best_of': it cannot be greater than 'n' when 'stream' is enabled."
        raise BadRequestError(message, param="best_of")


# A request may have thousands of prompts; half of the queue stays free for other requests of the same key.
_ENDPOINT = CompletionEndpoint("/completions", CreateCompletionRequest, _check, prepare, queue_share=0.5)


@router.post(
    "",
    response_model=TextCompletion,
    responses={200: {"content": streams(TextCompletion)}},
    openapi_extra=reads(CreateCompletionRequest),
)
async def create(request: Request, state: StateDep) -> Response:
    """Plain, or with `stream` as server-sent events; the body is a CreateCompletionRequest.

    Text is continued unchanged, including special tokens in it. A model that was trained on pairs of prompt and
    completion gets it in the chat template of the pairs' prompts; token ids are always sent unchanged.
    """
    return await respond(_ENDPOINT, request, state)
