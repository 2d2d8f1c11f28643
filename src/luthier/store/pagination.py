"""Cursor pagination over any table with `seq` (order of creation) and `id` (the cursor)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, RowMapping, Select, Table, select

from luthier.types.errors import BadRequestError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    data: list[Item]
    has_more: bool


def unknown_cursor(after: str) -> BadRequestError:
    """An empty page would look like the end of the list."""
    message = f"Invalid value for 'after': no object with id '{after}' is in this list."
    return BadRequestError(message, param="after", code="invalid_value")


def fetch_page(
    connection: Connection,
    query: Select[Any],
    table: Table,
    build: Callable[[RowMapping], Item],
    *,
    limit: int,
    after: str | None,
    ascending: bool = False,
) -> Page[Item]:
    """Up to `limit` rows after the row with id `after`. Raises BadRequestError for a cursor that does not exist."""
    if after is not None:
        seq = connection.scalar(select(table.c.seq).where(table.c.id == after))
        if seq is None:
            raise unknown_cursor(after)
        query = query.where(table.c.seq > seq if ascending else table.c.seq < seq)
    order = table.c.seq.asc() if ascending else table.c.seq.desc()
    rows = connection.execute(query.order_by(order).limit(limit + 1)).mappings().all()
    return Page([build(row) for row in rows[:limit]], len(rows) > limit)
