"""Cursor pagination over any table with `seq` (order of creation) and `id` (the cursor)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, RowMapping, Select, Table, and_, or_, select

from luthier.types.errors import BadRequestError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    data: list[Item]
    has_more: bool


def unknown_cursor(after: str) -> BadRequestError:
    """The error for a cursor that does not exist; an empty page would look like the end of the list."""
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
    order_by: Column[Any] | None = None,
) -> Page[Item]:
    """Up to `limit` rows after the row with id `after`. Raises BadRequestError for a cursor that does not exist.

    `order_by`: a column that takes precedence over the order of creation.
    """
    seq, first = table.c.seq, table.c.seq if order_by is None else order_by
    if after is not None:
        cursor = connection.execute(select(seq, first.label("first")).where(table.c.id == after)).first()
        if cursor is None:
            raise unknown_cursor(after)
        later = seq > cursor.seq if ascending else seq < cursor.seq
        if order_by is not None:
            later_first = order_by > cursor.first if ascending else order_by < cursor.first
            later = or_(later_first, and_(order_by == cursor.first, later))
        query = query.where(later)
    order = [column.asc() if ascending else column.desc() for column in (first, seq)]
    rows = connection.execute(query.order_by(*order).limit(limit + 1)).mappings().all()
    return Page([build(row) for row in rows[:limit]], len(rows) > limit)
