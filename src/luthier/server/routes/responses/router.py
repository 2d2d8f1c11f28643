"""`/v1/responses`: created, retrieved, cancelled, deleted; their input, its tokens, and compaction."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.endpoint import forwarded_response, served_by
from luthier.server.generation.model_param import resolve_model
from luthier.server.http.disconnect import cancel_on_disconnect
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.openapi import reads, streams
from luthier.server.http.pydantic_errors import validated
from luthier.server.routes.responses import run
from luthier.server.routes.responses.items import ID_LENGTH, item_id, stored_items
from luthier.server.routes.responses.prepare import count_tokens, prepare, whole_context
from luthier.server.state import State, StateDep
from luthier.store import Page
from luthier.store.request_ids import resource_id
from luthier.types.common import now
from luthier.types.conversations import ItemPage
from luthier.types.errors import BadRequestError
from luthier.types.response_items import Compaction
from luthier.types.responses import (
    CompactedResponse,
    CompactRequest,
    CountTokensRequest,
    CreateResponseRequest,
    Include,
    ResponseDeleted,
    ResponseEvent,
    ResponseObject,
    ResponseUsage,
    TokenCount,
)

router = APIRouter(prefix="/v1/responses", tags=["responses"], route_class=StrictRoute)
ItemLimit = Annotated[int, Query(ge=1, le=100)]


def _check_include(
    include: Annotated[list[Include] | None, Query(max_length=16)] = None,
    bracketed: Annotated[
        list[Include] | None, Query(alias="include[]", max_length=16, include_in_schema=False)
    ] = None,  # as OpenAI's clients send it
) -> None:
    """Validates `include`, which adds nothing to stored items: they have the log-probabilities that were requested
    at creation, and the other values belong to tools that do not exist here."""


CHECKED_INCLUDE = Depends(_check_include)


@router.post(
    "",
    response_model=ResponseObject,
    responses={200: {"content": streams(ResponseEvent)}},
    openapi_extra=reads(CreateResponseRequest),
)
async def create(request: Request, state: StateDep) -> Response:
    """One object, with `stream` server-sent events, or with `background` immediately, while it is generated.

    The body is a CreateResponseRequest for local models; the upstream service validates requests for its own.
    """
    raw, target = await resolve_model(request, state, CreateResponseRequest)
    forwarded = await forwarded_response(request, state, raw, target, "/responses")
    if forwarded is not None:
        return forwarded
    body = validated(CreateResponseRequest, raw)
    _check(body)
    model = await cancel_on_disconnect(request, state.app.loader.load(target.successor or target))
    prepared = await run_in_threadpool(prepare, state, model, body)
    headers = served_by(target, model)
    if body.background:
        return await run.in_background(state, prepared, bool(body.stream), headers)
    if body.stream:
        return run.streamed(state, prepared, headers)
    return JSONResponse(await cancel_on_disconnect(request, run.complete(state, prepared)), headers=headers)


def _check(body: CreateResponseRequest) -> None:
    """Raises BadRequestError for parameters that exclude each other."""
    if body.stream_options and not body.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequestError(message, param="stream_options")
    if body.background and body.store is False:
        message = "'background' cannot be sent with 'store' set to false, because a background response is stored."
        raise BadRequestError(message, param="store")


@router.post("/input_tokens", response_model=TokenCount, openapi_extra=reads(CountTokensRequest))
async def count_input_tokens(request: Request, state: StateDep) -> Any:
    """The number of tokens of the prompt for such a response, even if it exceeds the context."""
    raw, target = await resolve_model(request, state, CountTokensRequest)
    forwarded = await forwarded_response(request, state, raw, target, "/responses/input_tokens")
    if forwarded is not None:
        return forwarded
    body = validated(CountTokensRequest, raw)
    model = await cancel_on_disconnect(request, state.app.loader.load(target.successor or target))
    return TokenCount(input_tokens=await run_in_threadpool(count_tokens, state, model, body))


@router.post("/compact", response_model=CompactedResponse, openapi_extra=reads(CompactRequest))
async def compact(request: Request, state: StateDep) -> Any:
    """Stores the items and returns one that stands for them and can be sent in their place."""
    raw, target = await resolve_model(request, state, CompactRequest)
    forwarded = await forwarded_response(request, state, raw, target, "/responses/compact")
    if forwarded is not None:
        return forwarded
    body = validated(CompactRequest, raw)
    model = await cancel_on_disconnect(request, state.app.loader.load(target.successor or target))
    counted = CountTokensRequest(**body.model_dump(include={"model", "instructions", "previous_response_id"}))
    counted = counted.model_copy(update={"input": body.input})
    tokens = await run_in_threadpool(count_tokens, state, model, counted)
    compaction_id = resource_id("cmp_", ID_LENGTH)
    await run_in_threadpool(_keep, state, counted, compaction_id)
    return CompactedResponse(
        id=resource_id("resp_", ID_LENGTH),
        created_at=now(),
        output=[Compaction(id=compaction_id, encrypted_content=compaction_id)],
        usage=ResponseUsage(input_tokens=tokens, output_tokens=0, total_tokens=tokens),
    )


def _keep(state: State, body: CountTokensRequest, compaction_id: str) -> None:
    """Store the items under their own ids, independent of the responses that they come from."""
    items = whole_context(state.store, body, stored_items(state.store, body.input))
    copies = [item | {"id": item_id(item["type"])} for item in items]
    row = {"id": compaction_id, "created_at": now()}
    state.store.responses.create(row, copies, state.retention, kind="response.compaction")


@router.get(
    "/{response_id}",
    response_model=ResponseObject,
    responses={200: {"content": streams(ResponseEvent)}},
    dependencies=[CHECKED_INCLUDE],
)
async def retrieve(
    response_id: str,
    state: StateDep,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
    include_obfuscation: bool | None = None,
) -> Any:
    """With `stream`, returns its events after number `starting_after`, even while the response is being generated.

    `include_obfuscation` has no effect: events are never padded.
    """
    stored = await run_in_threadpool(run.settled, state, response_id)
    if not stream:
        return stored.response
    log = state.app.background.get(response_id)
    if log is not None:
        return run.followed(log, starting_after + 1, {})
    return run.replay(state, response_id, starting_after + 1, {})


@router.delete("/{response_id}")
async def delete(response_id: str, state: StateDep) -> ResponseDeleted:
    """A background response is cancelled first."""
    await run_in_threadpool(state.store.responses.retrieve, response_id)
    log = state.app.background.get(response_id)
    if log is not None:
        await log.cancel()
    await run_in_threadpool(state.store.responses.delete, response_id)
    return ResponseDeleted(id=response_id)


@router.post("/{response_id}/cancel", response_model=ResponseObject)
async def cancel(response_id: str, state: StateDep) -> Any:
    """A response that has ended is returned unchanged."""
    stored = await run_in_threadpool(run.settled, state, response_id)
    if not stored.response["background"]:
        raise BadRequestError("Only a response created with 'background' can be cancelled.", param="response_id")
    log = state.app.background.get(response_id)
    if log is not None:
        await log.cancel()
    elif run.runs_elsewhere(state, stored):
        await run_in_threadpool(run.cancel_elsewhere, state, stored)
    return (await run_in_threadpool(state.store.responses.retrieve, response_id)).response


@router.get("/{response_id}/input_items", dependencies=[CHECKED_INCLUDE])
def list_input_items(
    response_id: str,
    state: StateDep,
    after: str | None = None,
    limit: ItemLimit = 20,
    order: Literal["asc", "desc"] = "desc",
) -> ItemPage:
    """Items of the request itself, without those that it builds on."""
    responses = state.store.responses
    return item_page(responses.input_items(response_id, limit=limit, after=after, ascending=order == "asc"))


def item_page(page: Page[dict[str, Any]]) -> ItemPage:
    first, last = (page.data[0]["id"], page.data[-1]["id"]) if page.data else ("", "")
    return ItemPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)
