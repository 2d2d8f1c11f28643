"""Moves the rows of a store from SQLite in its data folder to PostgreSQL, or back.

Files, models and job folders stay in place and belong to the new database afterwards. All rows are copied in one
transaction, while the old database accepts no writes, so either all of them are moved or none. JSON is copied as text,
so a JSON null and SQL NULL stay distinct.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError

from luthier.language import say
from luthier.store.backup import DATABASE, has_tables, missing_blobs
from luthier.store.database import Backend, metadata, schema
from luthier.store.json_text import standard_json, storable
from luthier.store.migrations import migrate
from luthier.store.postgres_backend import APPLICATION_NAME, PostgresBackend
from luthier.store.sqlite_backend import SQLiteBackend
from luthier.store.worker_locks import WorkerLocks
from luthier.types.common import now
from luthier.types.errors import LuthierError

_ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class MoveSummary:
    """`source` and `target`: names of the databases, without a password. `rows`: the number of rows of each table.

    `cleaned`: the number of values that the target cannot store and that were replaced as in `json_text`. `missing`:
    files and models whose content is not in the data folder. `old_database`: the new path of the SQLite file.
    """

    source: str
    target: str
    rows: dict[str, int]
    cleaned: int
    missing: list[str]
    old_database: str | None


def move_to_postgres(data: Path, url: str) -> MoveSummary:
    """Move the rows to PostgreSQL. The SQLite file is renamed at the end. Its schema is migrated first, as when a
    server starts.

    Raises LuthierError: no database in `data`, rows in the one at `url`, a program that uses one of them, or rows that
    PostgreSQL refuses.
    """
    path = data / DATABASE
    if not has_tables(path):
        raise LuthierError(say(f"{data} contains no Luthier database.", f"{data} 中没有 Luthier 的数据库。"))
    _require_no_workers(data)
    source, target = SQLiteBackend(path), PostgresBackend(url)
    copied = _copy(source, target)
    missing = missing_blobs(data)
    old_database = data / f"{DATABASE}.moved-{now()}"
    for suffix in ("", "-wal", "-shm"):  # the log is folded in and gone unless another program has the file open
        if path.with_name(path.name + suffix).exists():
            path.with_name(path.name + suffix).rename(old_database.with_name(old_database.name + suffix))
    return MoveSummary(source.name, target.name, copied.rows, copied.cleaned, missing, str(old_database))


def move_to_folder(url: str, data: Path) -> MoveSummary:
    """Copy the rows into SQLite in the data folder that was used with the database at `url`, which keeps its rows.

    Raises LuthierError: a database in `data`, none of ours at `url`, or a program that uses one of them.
    """
    path = data / DATABASE
    if has_tables(path):
        raise LuthierError(
            say(f"{path} is already a database. Choose another --data folder, or rename that file.",
                f"{path} 已经是一个数据库。请用 --data 指定别的文件夹，或给该文件改名。")
        )  # fmt: skip
    _require_no_workers(data)
    source, target = PostgresBackend(url), SQLiteBackend(path)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    copied = _copy(source, target)
    target.opened()
    return MoveSummary(source.name, target.name, copied.rows, copied.cleaned, missing_blobs(data), None)


class _Copied(NamedTuple):
    """`rows`: of each table."""

    rows: dict[str, int]
    cleaned: int


def _copy(source: Backend, target: Backend) -> _Copied:
    """Raises LuthierError; the source is then unchanged."""
    try:
        with _exclusive(source) as reading, _exclusive(target) as writing:  # the target commits first
            _require_tables(reading, source.name)
            for connection, backend in ((reading, source), (writing, target)):
                if inspect(connection).has_table(schema.name):
                    migrate(connection, backend.name, metadata)
                metadata.create_all(connection)
            _require_empty(writing, target.name)
            writing.execute(delete(schema))
            copied = _copy_tables(reading, writing)
            if writing.dialect.name == "postgresql":
                _set_sequences(writing)
            return copied
    except DatabaseError as error:
        raise LuthierError(
            say(f"The move was interrupted: {_reason(error)}. {source.name} is unchanged.",
                f"移动中断：{_reason(error)}。{source.name} 没有变化。")
        ) from error  # fmt: skip


def _copy_tables(reading: Connection, writing: Connection) -> _Copied:
    rows, cleaned = {}, 0
    for table in metadata.sorted_tables:
        cleaned += _copy_table(table, reading, writing)
        expected, rows[table.name] = _count(table, reading), _count(table, writing)
        if rows[table.name] != expected:
            raise LuthierError(
                say(f"{rows[table.name]} of {expected} rows of the table {table.name} were copied. Nothing was moved.",
                    f"表 {table.name} 的 {expected} 行中只复制了 {rows[table.name]} 行。没有移动任何内容。")
            )  # fmt: skip
    return _Copied(rows, cleaned)


@contextmanager
def _exclusive(backend: Backend) -> Iterator[Connection]:
    """A transaction that no other write overlaps. Raises LuthierError where another program uses the database."""
    engine = backend.create_engine()
    try:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(engine.connect().execution_options(write="exclusive"))
                stack.enter_context(connection.begin())
            except DatabaseError as error:
                raise backend.opening_error(error.orig) from error
            backend.allow_long_statements(connection)
            _require_no_sessions(connection, backend.name)
            yield connection
    finally:
        engine.dispose()


def _copy_table(table: Table, reading: Connection, writing: Connection) -> int:
    """Copy a table and return the number of cleaned values. Raises LuthierError for rows that the target rejects."""
    on_postgres, cleaned = writing.dialect.name == "postgresql", 0
    rows = select(*(_read(column) for column in table.c)).order_by(*table.primary_key.columns)
    added = insert(table).values({column.name: _written(column, on_postgres) for column in table.c})
    result = reading.execute(rows, execution_options={"yield_per": _ROWS_AT_ONCE})
    try:
        for chunk in result.partitions():
            old_rows = [dict(zip(table.c.keys(), row, strict=True)) for row in chunk]
            new_rows = [_storable(table, row) for row in old_rows] if on_postgres else old_rows
            cleaned += sum(map(_count_changes, old_rows, new_rows))
            writing.execute(added, [{_parameter(name): value for name, value in row.items()} for row in new_rows])
    except DatabaseError as error:
        raise LuthierError(
            say(f"The table {table.name} cannot be copied: {_reason(error)}. Nothing was moved.",
                f"无法复制表 {table.name}：{_reason(error)}。没有移动任何内容。")
        ) from error  # fmt: skip
    return cleaned


def _read(column: Column[Any]) -> ColumnElement[Any]:
    return cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column


def _written(column: Column[Any], on_postgres: bool) -> ColumnElement[Any]:
    if not isinstance(column.type, JSON):
        return _bound(column.name, column.type)
    json_text = _bound(column.name, Text())
    return cast(json_text, JSON) if on_postgres else json_text  # on SQLite the cast would make it a number


def _bound(name: str, kind: Any) -> BindParameter[Any]:
    return bindparam(_parameter(name), type_=kind)


def _parameter(name: str) -> str:
    return f"new_{name}"  # SQLAlchemy interprets bind names that equal column names


def _storable(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row in a form that PostgreSQL can store."""
    values = {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
    json_columns = [column.name for column in table.c if isinstance(column.type, JSON)]
    return values | {name: standard_json(values[name]) for name in json_columns if values[name] is not None}


def _count_changes(row: Mapping[str, Any], stored: Mapping[str, Any]) -> int:
    return sum(value != row[name] for name, value in stored.items())


def _count(table: Table, connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _set_sequences(connection: Connection) -> None:
    """Set the sequences so that the next row of each table gets a greater number than the copied ones; an empty
    table begins at 1."""
    for table in metadata.sorted_tables:
        if "seq" in table.c:
            sequence = func.pg_get_serial_sequence(table.name, "seq")
            newest = select(func.max(table.c.seq)).scalar_subquery()
            connection.execute(select(func.setval(sequence, newest)))


def _reason(error: DatabaseError) -> str:
    return str(error.orig).strip().partition("\n")[0]


def _require_tables(connection: Connection, name: str) -> None:
    """Raises LuthierError for a database that does not belong to Luthier."""
    if not inspect(connection).has_table(schema.name):
        raise LuthierError(say(f"{name} contains no Luthier tables.", f"{name} 中没有 Luthier 的表。"))


def _require_empty(connection: Connection, name: str) -> None:
    """Raises LuthierError for a database with rows."""
    filled = [table.name for table in metadata.sorted_tables if table is not schema and _count(table, connection)]
    if filled:
        tables = ", ".join(filled)
        raise LuthierError(
            say(f"{name} is not empty: it has rows in {tables}. Choose a new database.",
                f"{name} 不是空的：{tables} 中已有数据。请指定一个新数据库。")
        )  # fmt: skip


def _require_no_workers(data: Path) -> None:
    count = WorkerLocks(data / "workers").count_alive()
    if count:
        raise LuthierError(
            say(
                f"{count} workers are running on {data}. Stop them first.",
                f"{data} 上有 {count} 个 worker 在运行。请先停止。",
            )
        )


def _require_no_sessions(connection: Connection, name: str) -> None:
    """Raises LuthierError if servers or workers are connected to PostgreSQL; users of a data folder hold locks
    there."""
    if connection.dialect.name != "postgresql":
        return
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    count = connection.scalar(others, {"name": APPLICATION_NAME})
    if count:
        raise LuthierError(
            say(f"{name} has {count} sessions of servers or workers. Stop them first.",
                f"{name} 上有 {count} 个服务器或 worker 的会话。请先停止它们。")
        )  # fmt: skip
