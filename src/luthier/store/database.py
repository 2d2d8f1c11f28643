"""Tables and transactions. Every statement runs inside `Database.read` or `Database.write`.

Readers never wait for writers. Writes happen one at a time, so a guarded `UPDATE` and its event are atomic, and data
that a write has read stays valid until its end. The implementation depends on the database (`sqlite_backend`,
`postgres_backend`).
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Protocol

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.migrations import SCHEMA_VERSION, migrate
from luthier.types.errors import LuthierError, UnavailableError
from luthier.types.projects import DEFAULT_PROJECT

metadata = MetaData()
_MAX_WAITING_WRITES = 24  # fewer than the threads that answer requests, so that reads continue while writes wait
# Set while a request is answered: if too many writes are already waiting, the next one is rejected instead of waiting.
refuse_when_busy: ContextVar[bool] = ContextVar("refuse_when_busy", default=False)


def key_columns() -> tuple[Column[int], Column[str]]:
    """The order of creation, which pagination uses, and the id that clients see."""
    number: Column[int] = Column("seq", Int64, primary_key=True, autoincrement=True)
    return number, Column("id", short_text(64), unique=True, nullable=False)


def project_column() -> Column[str]:
    """The project that a row belongs to."""
    return Column("project", short_text(64), nullable=False, server_default=DEFAULT_PROJECT)


def lease_columns() -> tuple[Column[Any], ...]:
    """Columns of a queue: the lease, the number of the newest claim, and the count of refused writes of older
    claims."""
    return (
        Column("owner", short_text(64)),
        Column("lease_until", Float),
        Column("fencing_token", Int64, nullable=False, server_default="0"),
        Column("stale_writes", Int64, nullable=False, server_default="0"),
    )


schema = Table("schema", metadata, Column("version", Int64, nullable=False))

files = Table(
    "files",
    metadata,
    *key_columns(),
    Column("filename", LongText, nullable=False),
    Column("purpose", short_text(32), nullable=False),
    Column("bytes", Int64, nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64),
    project_column(),
)

jobs = Table(
    "jobs",
    metadata,
    *key_columns(),
    Column("status", short_text(32), nullable=False, index=True),
    Column("model", LongText, nullable=False),  # as the job echoes it
    Column("base", LongText, nullable=False),  # the catalogue's name of the base model
    Column("parent", LongText),  # the fine-tuned model that training continues from
    Column("training_file", short_text(64), nullable=False),
    Column("validation_file", short_text(64)),
    Column("suffix", short_text(64)),
    Column("name", LongText),  # set by a user later
    Column("seed", Int64, nullable=False),
    Column("method", JSON, nullable=False),
    Column("integrations", JSON, nullable=False),
    Column("metadata", JSON),
    Column("created_at", Int64, nullable=False),
    Column("finished_at", Int64),
    Column("estimated_finish", Int64),
    Column("fine_tuned_model", LongText),
    Column("trained_tokens", Int64),
    Column("result_files", JSON, nullable=False),
    Column("error", JSON),
    *lease_columns(),
    Column("attempts", Int64, nullable=False, default=0),  # runs without progress
    project_column(),
)

events = Table(
    "events",
    metadata,
    *key_columns(),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("level", short_text(8), nullable=False),
    Column("type", short_text(16), nullable=False),
    Column("message", LongText, nullable=False),
    Column("data", JSON),
    Column("step", Int64),  # metrics only: one row per step, even if the step runs again
    Column("key", short_text(64)),  # one row per job and key
    UniqueConstraint("job_id", "step"),
    Index("events_by_job", "job_id", "seq"),
)

models = Table(
    "models",
    metadata,
    Column("seq", Int64, primary_key=True, autoincrement=True),
    Column("id", LongText, unique=True, nullable=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("base", LongText, nullable=False),
    Column("root", LongText, nullable=False),
    Column("adapter", short_text(64), nullable=False),  # the folder's name under `models/`
    Column("call_form", short_text(16)),  # "tools", "functions" or null: how the training data wrote calls
    Column("created_at", Int64, nullable=False),
    project_column(),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    *key_columns(),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("model", LongText, nullable=False),
    Column("step", Int64, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
    UniqueConstraint("job_id", "step"),
)


def insert_once(connection: Connection, table: Table, row: Mapping[str, Any], *unique: str) -> None:
    """Insert a row, unless one has the same values in the columns `unique`, which have a unique constraint."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(**row).on_conflict_do_nothing(index_elements=unique))


@cache
def _creating_statements(database: str) -> tuple[str, ...]:
    """What `metadata.create_all` executes on an empty database, compiled once per process."""
    dialect = postgresql.dialect() if database == "postgresql" else sqlite.dialect()  # type: ignore[no-untyped-call]
    definitions: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        definitions += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    return tuple(str(definition.compile(dialect=dialect)) for definition in definitions)


def _refuse_event_loop() -> None:
    """Raises RuntimeError where an event loop runs: all its requests would wait for the database, for a minute even."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("The store was called on an event loop. Call it in a thread: run_in_threadpool(...)")


class Backend(Protocol):
    """The operations that differ between databases."""

    name: str  # for messages; contains no password
    is_shared: bool  # by servers on any number of machines
    read_options: Mapping[str, Any]  # execution options of a transaction with a consistent, read-only view

    def create_engine(self) -> Engine: ...

    def current_time(self) -> ColumnElement[float]:
        """Unix seconds by the clock that all processes on the database share."""
        ...

    def opening_error(self, error: BaseException | None) -> LuthierError: ...

    def allow_long_statements(self, connection: Connection) -> None:
        """For the transaction at hand, which migrates or moves whole tables."""

    def integrity_errors(self, engine: Engine) -> list[str]: ...

    def opened(self) -> None:
        """Called once, when the tables exist."""

    def tidy(self, engine: Engine) -> None:
        """Called now and then."""


class Database:
    """The tables, shared by threads and processes."""

    def __init__(self, backend: Backend, on_new: Callable[[], None]) -> None:
        """Create or migrate the tables. `on_new` is called before they are created; if it raises, they are not.

        Raises LuthierError for a database that cannot be opened.
        """
        self._backend, self._engine = backend, backend.create_engine()
        self._writes = threading.BoundedSemaphore(_MAX_WAITING_WRITES)
        self.write_count = 0  # transactions that this process has committed; two that end together may count as one
        try:
            self._create_tables(on_new)
        except DatabaseError as error:
            raise self.opening_error(error) from error
        backend.opened()

    def _create_tables(self, on_new: Callable[[], None]) -> None:
        with self.write() as connection:
            self._backend.allow_long_statements(connection)
            if inspect(connection).has_table("schema"):
                migrate(connection, self._backend.name, metadata)
                metadata.create_all(connection)
            else:
                on_new()
                for statement in _creating_statements(connection.dialect.name):
                    connection.exec_driver_sql(statement)
            if connection.scalar(select(schema.c.version)) is None:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use it."""
        return self._backend.is_shared

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction with a consistent snapshot; never waits for a writer."""
        _refuse_event_loop()
        with self._connect(self._backend.read_options) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, exclusive: bool = True) -> Iterator[Connection]:
        """A transaction that no other write overlaps: what it reads holds until it ends.

        `exclusive=False`: for a change of one row by a guarded `UPDATE` and inserts for that row after it. Such
        transactions may overlap with all others; the row lock keeps them in order.

        Raises UnavailableError within a request, when too many writes wait already.
        """
        _refuse_event_loop()
        if not self._writes.acquire(blocking=not refuse_when_busy.get()):
            raise UnavailableError("The database is busy. Please try again.", code="database_busy")
        options = {"write": "exclusive" if exclusive else "row"}
        try:
            with self._connect(options) as connection, connection.begin():
                yield connection
            self.write_count += 1
        finally:
            self._writes.release()

    def _connect(self, options: Mapping[str, Any]) -> Connection:
        """A pool whose connections stay in use for too long counts as a database that does not answer."""
        try:
            return self._engine.connect().execution_options(**options)
        except PoolTimeoutError as error:
            raise OperationalError("connect", {}, error) from error

    def current_time(self) -> ColumnElement[float]:
        """Unix seconds, for leases: by the clock that all processes on the database share."""
        return self._backend.current_time()

    def opening_error(self, error: DatabaseError) -> LuthierError:
        """The error to raise for a database error during opening."""
        return self._backend.opening_error(error.orig)

    def integrity_errors(self) -> list[str]:
        """The findings of the database's own integrity check; empty for an intact database."""
        return self._backend.integrity_errors(self._engine)

    def tidy(self) -> None:
        """Maintenance that each process does once a minute."""
        self._backend.tidy(self._engine)

    def close(self) -> None:
        self._engine.dispose()
