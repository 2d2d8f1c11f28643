"""`/v1/chat/completions`, those that were asked for with `store`: kept, listed, shown, given metadata, deleted."""

from typing import Any, Literal

from fastapi import APIRouter, Request

from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import BY_METADATA, Limit, list_page, metadata_pairs
from luthier.server.state import State, StateOf
from luthier.store import Page
from luthier.types.chat import CreateChatCompletionRequest, Message
from luthier.types.common import ListPage
from luthier.types.stored import StoredCompletion, StoredDeleted, StoredMessage, UpdateStoredRequest

router = APIRouter(prefix="/v1/chat/completions", tags=["chat"], route_class=StrictRoute)
_ECHOED = {"seed", "tools", "tool_choice", "response_format"}
_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def keep(state: State, body: CreateChatCompletionRequest, made: dict[str, Any], request_id: str) -> None:
    """The answer `made` and the messages of the request, for the caller's project."""
    asked = body.model_dump(exclude_none=True)
    given = {name: asked[name] for name in _ECHOED & set(asked)} | _DEFAULTS
    given |= {name: asked[name] for name in _DEFAULTS if name in asked}
    stored = StoredCompletion(
        **made, **given, metadata=body.metadata or {}, input_user=body.user, request_id=request_id
    )
    messages = [_message(f"{stored.id}-{place}", message) for place, message in enumerate(body.messages)]
    settings = state.settings
    state.store.completions.create(stored, messages, days=settings.stored_days, most=settings.stored_completions)


def _message(message_id: str, message: Message) -> StoredMessage:
    """In parts where it came in parts, else with text."""
    sent = message.model_dump(exclude_none=True)
    if isinstance(message.content, list):
        sent["content_parts"] = sent.pop("content")
    known = {name: value for name, value in sent.items() if name in StoredMessage.model_fields}
    return StoredMessage(**known, id=message_id)


@router.get("", openapi_extra=BY_METADATA)
def list_stored(
    request: Request,
    state: StateOf,
    model: str | None = None,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "asc",
) -> ListPage[StoredCompletion]:
    """`metadata[key]=value` in the query keeps those that carry the pair."""
    pairs = metadata_pairs(request) or {}
    return list_page(
        state.store.completions.list(model=model, pairs=pairs, limit=limit, after=after, ascending=order == "asc")
    )


@router.get("/{completion_id}")
def retrieve(completion_id: str, state: StateOf) -> StoredCompletion:
    return state.store.completions.retrieve(completion_id)


@router.post("/{completion_id}")
def update(completion_id: str, body: UpdateStoredRequest, state: StateOf) -> StoredCompletion:
    return state.store.completions.update(completion_id, body.metadata or {})


@router.delete("/{completion_id}")
def delete(completion_id: str, state: StateOf) -> StoredDeleted:
    state.store.completions.delete(completion_id)
    return StoredDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
def list_messages(
    completion_id: str,
    state: StateOf,
    after: str | None = None,
    limit: Limit = 20,
    order: Literal["asc", "desc"] = "asc",
) -> ListPage[StoredMessage]:
    found = state.store.completions.messages(completion_id)
    messages = list(found if order == "asc" else found[::-1])
    if after is not None:
        ids = [message.id for message in messages]
        messages = messages[ids.index(after) + 1 :] if after in ids else []
    return list_page(Page(messages[:limit], len(messages) > limit))
