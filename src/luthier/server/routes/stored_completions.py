"""`/v1/chat/completions` of requests with `store`: stored, listed, retrieved, updated, deleted."""

from typing import Any, Literal

from fastapi import APIRouter, Request

from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import METADATA_PARAMETER, Limit, list_page, parse_metadata_filter
from luthier.server.state import State, StateDep
from luthier.store import Page, unknown_cursor
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.common import ListPage
from luthier.types.stored import (
    StoredCompletion,
    StoredDeleted,
    StoredMessage,
    UpdateStoredRequest,
    stored_message,
)

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], route_class=StrictRoute)
_ECHOED = {"seed", "tools", "tool_choice", "response_format"}
_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def store_completion(
    state: State, body: CreateChatCompletionRequest, response: dict[str, Any], request_id: str
) -> None:
    """Stores the response and the messages of the request for the caller's project."""
    parameters = request_parameters(body.model_dump(exclude_none=True))
    stored = StoredCompletion(
        **response, **parameters, metadata=body.metadata or {}, input_user=body.user, request_id=request_id
    )
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    save(state, stored, [stored_message(f"{stored.id}-{index}", fields) for index, fields in enumerate(messages)])


def save(state: State, completion: StoredCompletion, messages: list[StoredMessage]) -> None:
    """Store a completion within the limits of the settings. Raises ConflictError for an existing id."""
    settings = state.settings
    state.store.stored_completions.create(
        completion, messages, days=settings.stored_days, max_rows=settings.stored_completions
    )


def request_parameters(body: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request body that a stored completion has, with their defaults.

    The older `functions` are stored as tools.
    """
    if "functions" in body:
        tools = [{"type": "function", "function": function} for function in body["functions"]]
        body = {"tools": tools, **body}
    return _DEFAULTS | {name: value for name, value in body.items() if name in _ECHOED | set(_DEFAULTS)}


@router.get("", openapi_extra=METADATA_PARAMETER)
def list_stored(
    request: Request,
    state: StateDep,
    model: str | None = None,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "asc",
) -> ListPage[StoredCompletion]:
    """`metadata[key]=value` in the query selects those that have the pair."""
    pairs = parse_metadata_filter(request) or {}
    return list_page(
        state.store.stored_completions.list(
            model=model, pairs=pairs, limit=limit, after=after, ascending=order == "asc"
        )
    )


@router.get("/{completion_id}")
def retrieve(completion_id: str, state: StateDep) -> StoredCompletion:
    return state.store.stored_completions.retrieve(completion_id)


@router.post("/{completion_id}")
def update(completion_id: str, body: UpdateStoredRequest, state: StateDep) -> StoredCompletion:
    return state.store.stored_completions.update(completion_id, body.metadata or {})


@router.delete("/{completion_id}")
def delete(completion_id: str, state: StateDep) -> StoredDeleted:
    state.store.stored_completions.delete(completion_id)
    return StoredDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
def list_messages(
    completion_id: str,
    state: StateDep,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "asc",
) -> ListPage[StoredMessage]:
    stored = state.store.stored_completions.messages(completion_id)
    messages = list(stored if order == "asc" else stored[::-1])
    if after is not None:
        ids = [message.id for message in messages]
        if after not in ids:
            raise unknown_cursor(after)
        messages = messages[ids.index(after) + 1 :]
    return list_page(Page(messages[:limit], len(messages) > limit))
