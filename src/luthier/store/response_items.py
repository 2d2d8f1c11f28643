"""Items of responses and conversations: a row each, which may belong to one of them or to both.

An item is deleted with the last of the two that contains it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    Text,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from luthier.store.column_types import short_text
from luthier.store.database import key_columns, metadata, project_column
from luthier.store.request_ids import is_seeded
from luthier.types.responses import MAX_CONTEXT_BYTES, MAX_INPUT_ITEMS

Item = dict[str, Any]  # as the API answers it, with its id

items = Table(
    "items",
    metadata,
    *key_columns(),
    Column("response", short_text(64), index=True),  # the response or compaction that it was sent to or written by
    Column("side", short_text(8)),  # of the response: "input" or "output"
    Column("conversation", short_text(64), index=True),
    Column("item", JSON, nullable=False),
    project_column(),
)


def add_items(
    connection: Connection,
    added: Iterable[Item],
    *,
    project: str,
    response: str | None = None,
    side: str | None = None,
    conversation: str | None = None,
) -> None:
    """Append items, in this order, after the existing ones."""
    owner = {"response": response, "side": side, "conversation": conversation, "project": project}
    rows = [{"id": item["id"], "item": item, **owner} for item in added]
    if is_seeded():  # an earlier attempt of the same operation may have added them
        connection.execute(delete(items).where(items.c.id.in_([row["id"] for row in rows])))
    if rows:
        connection.execute(insert(items), rows)


def items_where(connection: Connection, *conditions: ColumnElement[bool]) -> list[Item]:
    """The matching items, in the order in which they were added."""
    query = select(items.c.item).where(*conditions).order_by(items.c.seq)
    return list(connection.scalars(query))


def excess(connection: Connection, condition: ColumnElement[bool], added: Sequence[Item] = ()) -> str | None:
    """A message if these items and those `added` exceed a limit in number or size; None otherwise."""
    sizes = select(func.count(), func.coalesce(func.sum(func.length(cast(items.c.item, Text))), 0)).where(condition)
    count, characters = connection.execute(sizes).one()
    if count + len(added) > MAX_INPUT_ITEMS:
        return f"more than {MAX_INPUT_ITEMS:,} items"
    if characters + sum(len(json.dumps(item)) for item in added) > MAX_CONTEXT_BYTES:
        return f"more than {MAX_CONTEXT_BYTES:,} bytes"
    return None


def drop_responses(connection: Connection, responses: Sequence[str]) -> None:
    """Delete the items of deleted responses; those in a conversation are kept."""
    of_these = items.c.response.in_(responses)
    connection.execute(delete(items).where(of_these, items.c.conversation.is_(None)))
    connection.execute(update(items).where(of_these).values(response=None, side=None))


def leave_conversation(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    """Remove items from their conversation; those of a response are kept."""
    connection.execute(delete(items).where(*conditions, items.c.response.is_(None)))
    connection.execute(update(items).where(*conditions).values(conversation=None))


def item_of(row: RowMapping) -> Item:
    item: Item = row["item"]
    return item
