"""Conversations: ordered items with an id and metadata, stored until they are deleted.

A limit on their number deletes those that were created first.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    delete,
    insert,
    select,
    update,
)

from luthier.store.column_types import Int64
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import is_seeded, resource_id
from luthier.store.response_items import (
    Item,
    add_items,
    excess,
    item_of,
    items,
    items_where,
    leave_conversation,
)
from luthier.types.common import now
from luthier.types.conversations import Conversation
from luthier.types.errors import BadRequestError, NotFoundError

conversations = Table(
    "conversations",
    metadata,
    *key_columns(),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
    project_column(),
)


class Conversations(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, pairs: Mapping[str, str], added: list[Item], *, max_rows: int) -> Conversation:
        """Create a conversation. Beyond `max_rows`, over all projects, the oldest are deleted."""
        row: dict[str, Any] = {
            "id": resource_id("conv_", 48),
            "metadata": dict(pairs),
            "created_at": now(),
            "project": self._new_row_project,
        }
        with self._database.write() as connection:
            repeated = is_seeded() and connection.scalar(_seq_of(row["id"]))
            if not repeated:
                connection.execute(insert(conversations).values(**row))
                add_items(connection, added, conversation=row["id"], project=row["project"])
                _prune(connection, max_rows)
            return _conversation(self._row(connection, row["id"]))

    def retrieve(self, conversation_id: str) -> Conversation:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return _conversation(self._row(connection, conversation_id))

    def update(self, conversation_id: str, pairs: Mapping[str, str]) -> Conversation:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            self._row(connection, conversation_id)
            this = conversations.c.id == conversation_id
            connection.execute(update(conversations).where(this).values(metadata=dict(pairs)))
            return _conversation(self._row(connection, conversation_id))

    def delete(self, conversation_id: str) -> None:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            self._row(connection, conversation_id)
            _delete(connection, [conversation_id])

    def add(self, conversation_id: str, added: list[Item]) -> None:
        """Append items. Raises NotFoundError; BadRequestError if there would be more than a request can build on."""
        with self._database.write() as connection:
            self._row(connection, conversation_id)
            too_long = excess(connection, _inside(conversation_id), added)
            if too_long:
                message = (
                    f"The conversation '{conversation_id}' would have {too_long}. Delete some of them, or begin "
                    "another conversation."
                )
                raise BadRequestError(message, param="items")
            add_items(connection, added, conversation=conversation_id, project=self._new_row_project)

    def context(self, conversation_id: str) -> list[Item]:
        """All items of a conversation, oldest first. Raises NotFoundError; BadRequestError if there are more than a
        request can build on."""
        with self._database.read() as connection:
            self._row(connection, conversation_id)
            too_long = excess(connection, _inside(conversation_id))
            if too_long:
                message = f"The conversation '{conversation_id}' has {too_long}. Delete some of them, or start another."
                raise BadRequestError(message, param="conversation", code="context_length_exceeded")
            return items_where(connection, _inside(conversation_id))

    def items(self, conversation_id: str, *, limit: int, after: str | None, ascending: bool) -> Page[Item]:
        """Raises NotFoundError."""
        query = select(items).where(_inside(conversation_id))
        with self._database.read() as connection:
            self._row(connection, conversation_id)
            return fetch_page(connection, query, items, item_of, limit=limit, after=after, ascending=ascending)

    def item(self, conversation_id: str, item_id: str) -> Item:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return item_of(self._item_row(connection, conversation_id, item_id))

    def delete_item(self, conversation_id: str, item_id: str) -> Conversation:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            row = self._item_row(connection, conversation_id, item_id)
            leave_conversation(connection, items.c.seq == row["seq"])
            return _conversation(self._row(connection, conversation_id))

    def _row(self, connection: Connection, conversation_id: str) -> RowMapping:
        return require_conversation(connection, self._visible, conversation_id)

    def _item_row(self, connection: Connection, conversation_id: str, item_id: str) -> RowMapping:
        self._row(connection, conversation_id)
        query = select(items).where(_inside(conversation_id), items.c.id == item_id)
        row: RowMapping | None = connection.execute(query).mappings().first()
        if row is None:
            message = f"Item with id '{item_id}' not found in conversation '{conversation_id}'."
            raise NotFoundError(message, param="item_id")
        return row


def require_conversation(
    connection: Connection, visible: Callable[[Table], Select[Any]], conversation_id: str
) -> RowMapping:
    """Return the row if it is `visible`. Raises NotFoundError."""
    query = visible(conversations).where(conversations.c.id == conversation_id)
    row: RowMapping | None = connection.execute(query).mappings().first()
    if row is None:
        raise NotFoundError(f"Conversation with id '{conversation_id}' not found.", param="conversation")
    return row


def _seq_of(conversation_id: str) -> Select[Any]:
    return select(conversations.c.seq).where(conversations.c.id == conversation_id)


def _inside(conversation_id: str) -> ColumnElement[bool]:
    return items.c.conversation == conversation_id


def _conversation(row: RowMapping) -> Conversation:
    return Conversation(id=row["id"], created_at=row["created_at"], metadata=row["metadata"])


def _delete(connection: Connection, ids: list[str]) -> None:
    leave_conversation(connection, items.c.conversation.in_(ids))
    connection.execute(delete(conversations).where(conversations.c.id.in_(ids)))


def _prune(connection: Connection, max_rows: int) -> None:
    newest_first = select(conversations.c.seq).order_by(conversations.c.seq.desc())
    last_outdated = connection.scalar(newest_first.offset(max_rows).limit(1))
    if last_outdated is not None:
        outdated = select(conversations.c.id).where(conversations.c.seq <= last_outdated)
        _delete(connection, list(connection.scalars(outdated)))
