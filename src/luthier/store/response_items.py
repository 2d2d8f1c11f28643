"""Items of responses and of conversations: a row each, whichever of the two it belongs to, or both.

An item goes with the last of the two that holds it.
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
    Column("response", short_text(64), index=True),  # the response, or the compaction, that it was sent to or is of
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
    """In this order, after those that are there."""
    owner = {"response": response, "side": side, "conversation": conversation, "project": project}
    rows = [{"id": item["id"], "item": item, **owner} for item in added]
    if is_seeded():  # an earlier try of the same operation may have added them
        connection.execute(delete(items).where(items.c.id.in_([row["id"] for row in rows])))
    if rows:
        connection.execute(insert(items), rows)


def items_where(connection: Connection, *conditions: ColumnElement[bool]) -> list[Item]:
    """In the order in which they were added."""
    query = select(items.c.item).where(*conditions).order_by(items.c.seq)
    return list(connection.scalars(query))


def excess(connection: Connection, condition: ColumnElement[bool], added: Sequence[Item] = ()) -> str | None:
    """What these items and those `added` are too many or too large for, in words; None when they are not."""
    sizes = select(func.count(), func.coalesce(func.sum(func.length(cast(items.c.item, Text))), 0)).where(condition)
    count, characters = connection.execute(sizes).one()
    if count + len(added) > MAX_INPUT_ITEMS:
        return f"more than {MAX_INPUT_ITEMS:,} items"
    if characters + sum(len(json.dumps(item)) for item in added) > MAX_CONTEXT_BYTES:
        return f"more than {MAX_CONTEXT_BYTES:,} bytes"
    return None


def drop_responses(connection: Connection, responses: Sequence[str]) -> None:
    """The items of responses that are deleted; those in a conversation stay there."""
    of_these = items.c.response.in_(responses)
    connection.execute(delete(items).where(of_these, items.c.conversation.is_(None)))
    connection.execute(update(items).where(of_these).values(response=None, side=None))


def leave_conversation(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    """Takes items out of their conversation; those of a response stay there."""
    connection.execute(delete(items).where(*conditions, items.c.response.is_(None)))
    connection.execute(update(items).where(*conditions).values(conversation=None))


def item_of(row: RowMapping) -> Item:
    item: Item = row["item"]
    return item
