"""`/v1/conversations`: created, retrieved, updated, deleted, and their items."""

from typing import Any, Literal

from fastapi import APIRouter

from luthier.server.http.json_body import StrictRoute
from luthier.server.routes.responses.items import expanded, stored_items
from luthier.server.routes.responses.prepare import check_bytes
from luthier.server.routes.responses.router import CHECKED_INCLUDE, ItemLimit, item_page
from luthier.server.state import State, StateDep
from luthier.store import Page
from luthier.store.response_items import Item
from luthier.types.conversations import (
    AddItemsRequest,
    Conversation,
    ConversationDeleted,
    CreateConversationRequest,
    ItemPage,
    UpdateConversationRequest,
)
from luthier.types.response_items import AnyInputItem

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], route_class=StrictRoute)


@router.post("")
def create(body: CreateConversationRequest, state: StateDep) -> Conversation:
    added = _items(state, body.items or [])
    return state.store.conversations.create(body.metadata or {}, added, max_rows=state.retention.max_rows)


@router.get("/{conversation_id}")
def retrieve(conversation_id: str, state: StateDep) -> Conversation:
    return state.store.conversations.retrieve(conversation_id)


@router.post("/{conversation_id}")
def update(conversation_id: str, body: UpdateConversationRequest, state: StateDep) -> Conversation:
    return state.store.conversations.update(conversation_id, body.metadata or {})


@router.delete("/{conversation_id}")
def delete(conversation_id: str, state: StateDep) -> ConversationDeleted:
    """Items of stored responses stay there."""
    state.store.conversations.delete(conversation_id)
    return ConversationDeleted(id=conversation_id)


@router.post("/{conversation_id}/items", dependencies=[CHECKED_INCLUDE])
def add_items(conversation_id: str, body: AddItemsRequest, state: StateDep) -> ItemPage:
    added = _items(state, body.items)
    state.store.conversations.add(conversation_id, added)
    return item_page(Page(added, has_more=False))


@router.get("/{conversation_id}/items", dependencies=[CHECKED_INCLUDE])
def list_items(
    conversation_id: str,
    state: StateDep,
    after: str | None = None,
    limit: ItemLimit = 20,
    order: Literal["asc", "desc"] = "desc",
) -> ItemPage:
    conversations = state.store.conversations
    return item_page(conversations.items(conversation_id, limit=limit, after=after, ascending=order == "asc"))


@router.get("/{conversation_id}/items/{item_id}", dependencies=[CHECKED_INCLUDE])
def retrieve_item(conversation_id: str, item_id: str, state: StateDep) -> dict[str, Any]:
    return state.store.conversations.item(conversation_id, item_id)


@router.delete("/{conversation_id}/items/{item_id}")
def delete_item(conversation_id: str, item_id: str, state: StateDep) -> Conversation:
    return state.store.conversations.delete_item(conversation_id, item_id)


def _items(state: State, sent: list[AnyInputItem]) -> list[Item]:
    """A compaction is added as the items that it stands for, which are kept independently of it."""
    items = expanded(stored_items(state.store, sent, "items"), state.store.responses.compacted, "items")
    check_bytes(items)
    return items
