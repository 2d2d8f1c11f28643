"""Conversations: items that outlive the responses they were sent with or written by."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Metadata, Request, Response
from luthier.types.response_items import InputItem

MAX_ADDED_ITEMS = 20  # by one request


class CreateConversationRequest(Request):
    items: Annotated[list[InputItem], Field(fail_fast=True, max_length=MAX_ADDED_ITEMS)] | None = None
    metadata: Metadata | None = None


class UpdateConversationRequest(Request):
    metadata: Metadata | None


class AddItemsRequest(Request):
    items: Annotated[list[InputItem], Field(fail_fast=True, min_length=1, max_length=MAX_ADDED_ITEMS)]


class Conversation(Response):
    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str] = Field(default_factory=dict)


class ConversationDeleted(Response):
    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True


class ItemPage(Response):
    """Items of a conversation, or of a response's input, as they are stored; empty ids for an empty page."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool
