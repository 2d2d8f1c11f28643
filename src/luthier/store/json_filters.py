"""Filters over JSON columns that hold metadata. Keys are bound parameters, so they may be any text."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Text, and_, cast, func, literal, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


def with_pairs(column: Column[Any], pairs: Mapping[str, str]) -> ColumnElement[bool]:
    """Rows whose metadata contains all these pairs."""
    return and_(true(), *(_ValueOf(column, literal(key, Text)) == value for key, value in pairs.items()))


def without_pairs(column: Column[Any]) -> ColumnElement[bool]:
    """Rows without metadata."""
    return func.coalesce(cast(column, Text), "null").in_(("null", "{}"))


def without_key(column: Column[Any], key: str) -> ColumnElement[bool]:
    """Rows whose metadata do not have the key."""
    return _ValueOf(column, literal(key, Text)).is_(None)


def with_text(column: Column[Any], text: str) -> ColumnElement[bool]:
    """Rows whose metadata, as JSON, contain `text`, which must be in lower case."""
    return func.lower(cast(column, Text)).contains(json.dumps(text)[1:-1], autoescape=True)


class _ValueOf(FunctionElement[str]):
    """The text at a key of a JSON object; NULL without one."""

    type = Text()
    inherit_cache = True


@compiles(_ValueOf, "sqlite")
def _value_on_sqlite(element: _ValueOf, compiler: SQLCompiler, **options: Any) -> str:
    column, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(SELECT pair.value FROM json_each({column}) AS pair WHERE pair.key = {key})"  # noqa: S608 - clauses


@compiles(_ValueOf, "postgresql")
def _value_on_postgresql(element: _ValueOf, compiler: SQLCompiler, **options: Any) -> str:
    """A row with a NUL character has no value, since PostgreSQL would reject the whole query."""
    column, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(CASE WHEN position('\\u0000' in {column}::text) = 0 THEN {column} ->> {key} END)"
