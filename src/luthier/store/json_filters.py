"""Filters over JSON columns that hold metadata. Keys are bound parameters, so they may be any text."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Text, and_, cast, exists, func, true


def with_pairs(column: Column[Any], pairs: Mapping[str, str]) -> ColumnElement[bool]:
    """Rows whose metadata contains all these pairs."""
    return and_(true(), *(_with_pair(column, key, value) for key, value in pairs.items()))


def without_pairs(column: Column[Any]) -> ColumnElement[bool]:
    """Rows without metadata."""
    pair = func.json_each(column).table_valued("key")
    return ~exists().where(pair.c.key.is_not(None)).correlate(column.table)


def without_key(column: Column[Any], key: str) -> ColumnElement[bool]:
    """Rows whose metadata do not have the key."""
    pair = func.json_each(column).table_valued("key")
    return ~exists().where(pair.c.key == key).correlate(column.table)


def with_text(column: Column[Any], text: str) -> ColumnElement[bool]:
    """Rows of which the metadata as JSON contain `text`, which is in lower case."""
    return func.lower(cast(column, Text)).contains(json.dumps(text)[1:-1], autoescape=True)


def _with_pair(column: Column[Any], key: str, value: str) -> ColumnElement[bool]:
    pair = func.json_each(column).table_valued("key", "value")
    return exists().where(pair.c.key == key, pair.c.value == value).correlate(column.table)
