"""Tables and transactions. Every statement runs inside `Database.read` or `Database.write`.

SQLite in WAL mode: readers never wait for writers, and a write transaction takes the lock at its start
(`BEGIN IMMEDIATE`), so that a guarded `UPDATE` and its event are atomic.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DatabaseError

from luthier.language import say
from luthier.store.migrations import SCHEMA_VERSION, migrate
from luthier.types.errors import LuthierError, UnavailableError
from luthier.types.projects import DEFAULT_PROJECT

metadata = MetaData()
_BUSY_TIMEOUT_MS = 60_000  # how long a statement waits for another process's lock
_MAX_INTEGRITY_ERRORS = 5
_MAX_WAITING_WRITES = 24  # fewer than the threads that answer requests, so that reads go on while writes wait
# Set while a request is answered: where too many writes wait already, the next one is refused instead of waiting.
refuse_when_busy: ContextVar[bool] = ContextVar("refuse_when_busy", default=False)


def key_columns() -> tuple[Column[int], Column[str]]:
    """The order of creation, by which pages go, and the id that clients see."""
    number = Column("seq", Integer, primary_key=True, autoincrement=True)
    return number, Column("id", String(64), unique=True, nullable=False)


def project_column() -> Column[str]:
    """The project that a row belongs to."""
    return Column("project", String(64), nullable=False, server_default=DEFAULT_PROJECT)


schema = Table("schema", metadata, Column("version", Integer, nullable=False))

files = Table(
    "files",
    metadata,
    *key_columns(),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    project_column(),
)

jobs = Table(
    "jobs",
    metadata,
    *key_columns(),
    Column("status", String(32), nullable=False, index=True),
    Column("model", Text, nullable=False),  # as the job echoes it
    Column("base", Text, nullable=False),  # the catalogue's name of the base model
    Column("parent", Text),  # the fine-tuned model that training continues from
    Column("training_file", String(64), nullable=False),
    Column("validation_file", String(64)),
    Column("suffix", String(64)),
    Column("name", Text),  # that a person gave it later
    Column("seed", Integer, nullable=False),
    Column("method", JSON, nullable=False),
    Column("integrations", JSON, nullable=False),
    Column("metadata", JSON),
    Column("created_at", Integer, nullable=False),
    Column("finished_at", Integer),
    Column("estimated_finish", Integer),
    Column("fine_tuned_model", Text),
    Column("trained_tokens", Integer),
    Column("result_files", JSON, nullable=False),
    Column("error", JSON),
    # The queue's columns; `attempts`: runs without progress.
    Column("owner", String(64)),
    Column("lease_until", Float),
    Column("attempts", Integer, nullable=False, default=0),
    project_column(),
)

events = Table(
    "events",
    metadata,
    *key_columns(),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("level", String(8), nullable=False),
    Column("type", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON),
    Column("step", Integer),  # metrics only: one row per step, also when the step runs again
    Column("key", String(64)),  # one row per job and key
    UniqueConstraint("job_id", "step"),
    Index("events_by_job", "job_id", "seq"),
)

models = Table(
    "models",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, unique=True, nullable=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("base", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("adapter", String(64), nullable=False),  # the folder's name under `models/`
    Column("call_form", String(16)),  # "tools", "functions" or null: how the training data wrote calls
    Column("created_at", Integer, nullable=False),
    project_column(),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    *key_columns(),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("model", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    UniqueConstraint("job_id", "step"),
)


def is_damaged(error: BaseException | None) -> bool:
    """Whether SQLite found that the file is no database, or that its pages contradict each other."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damage_error(path: Path, cause: object) -> LuthierError:
    return LuthierError(
        say(
            f"The database {path} is damaged: {cause}. Restore a backup: luthier restore BACKUP --data NEW_FOLDER",
            f"数据库 {path} 已损坏：{cause}。请恢复备份：luthier restore 备份 --data 新文件夹",
        )
    )


def opening_error(path: Path, error: BaseException | None) -> LuthierError:
    """`error`: the one of SQLite."""
    if is_damaged(error):
        return damage_error(path, error)
    return LuthierError(
        say(
            f"The database {path} cannot be opened: {error}. Its folder must be writable and have free space, and no "
            "other program may hold it locked.",
            f"无法打开数据库 {path}：{error}。它所在的文件夹必须可写、有剩余空间，并且没有被其他程序锁定。",
        )
    )


class Database:
    """One database file, shared by threads and by processes of one machine."""

    def __init__(self, path: Path) -> None:
        """Raises LuthierError for a file that cannot be opened or is damaged, and for one of a later release."""
        self._engine = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": 60, "check_same_thread": False}, pool_size=8, max_overflow=32
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._writes = threading.BoundedSemaphore(_MAX_WAITING_WRITES)
        try:
            self._create_tables(path)
        except DatabaseError as error:
            raise opening_error(path, error.orig) from error
        path.chmod(0o600)  # the folder may have been there before, readable by others

    def _create_tables(self, path: Path) -> None:
        with self.write() as connection:
            if inspect(connection).has_table("schema"):
                migrate(connection, path)
            metadata.create_all(connection)
            if connection.scalar(select(schema.c.version)) is None:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction with a consistent snapshot; never waits for a writer."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start.

        Raises UnavailableError within a request, when too many writes wait for the lock already.
        """
        if not self._writes.acquire(blocking=not refuse_when_busy.get()):
            raise UnavailableError("The database is busy. Please try again.", code="database_busy")
        try:
            with self._engine.connect().execution_options(write=True) as connection, connection.begin():
                yield connection
        finally:
            self._writes.release()

    def integrity_errors(self) -> list[str]:
        """What SQLite's check of the whole file finds; empty for a sound one. Reads every page."""
        try:
            with self.read() as connection:
                rows = connection.exec_driver_sql(f"PRAGMA integrity_check({_MAX_INTEGRITY_ERRORS})").scalars().all()
        except DatabaseError as error:
            if not is_damaged(error.orig):
                raise
            return [str(error.orig)]
        return [str(row) for row in rows if row != "ok"]

    def fold_in_log(self) -> None:
        """Moves what the write-ahead log holds into the database file, as far as no reader is in the way."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self._engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` starts transactions, not the driver
    cursor = connection.cursor()
    busy_timeout = f"busy_timeout={_BUSY_TIMEOUT_MS}"
    for pragma in (busy_timeout, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
