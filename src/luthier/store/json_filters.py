"""Filters over JSON columns that hold metadata. Keys are bound parameters, so they may be any text."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, exists, func, true


def with_pairs(column: Column[Any], pairs: Mapping[str, str]) -> ColumnElement[bool]:
    """Rows whose metadata contains all these pairs."""
    return and_(true(), *(_with_pair(column, key, value) for key, value in pairs.items()))


def without_pairs(column: Column[Any]) -> ColumnElement[bool]:
    """Rows without metadata."""
    pair = func.json_each(column).table_valued("key")
    return ~exists().where(pair.c.key.is_not(None)).correlate(column.table)


def _with_pair(column: Column[Any], key: str, value: str) -> ColumnElement[bool]:
    pair = func.json_each(column).table_valued("key", "value")
    return exists().where(pair.c.key == key, pair.c.value == value).correlate(column.table)
