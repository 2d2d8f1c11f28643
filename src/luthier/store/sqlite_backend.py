"""SQLite: one database file, shared by threads and by processes of one machine.

In WAL mode readers never wait for writers, and a write transaction takes the lock at its start (`BEGIN IMMEDIATE`).
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Float, create_engine, event, literal
from sqlalchemy.exc import DatabaseError

from luthier.language import say
from luthier.store.json_text import to_json
from luthier.types import clock
from luthier.types.errors import LuthierError

_MAX_INTEGRITY_ERRORS = 5
_BUSY_TIMEOUT_MS = 60_000  # how long a statement waits for the lock of another process


def is_damaged(error: BaseException | None) -> bool:
    """Whether SQLite reported that the file is not a database, or that its pages are inconsistent."""
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
            "other program may have locked it.",
            f"无法打开数据库 {path}：{error}。它所在的文件夹必须可写、有剩余空间，并且没有被其他程序锁定。",
        )
    )


class SQLiteBackend:
    is_shared = False
    read_options: Mapping[str, Any] = {}

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)

    def create_engine(self) -> Engine:
        engine = create_engine(
            f"sqlite:///{self._path}",
            connect_args={"timeout": 60, "check_same_thread": False},
            json_serializer=to_json,
            pool_size=8,
            max_overflow=32,
        )
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine

    def current_time(self) -> ColumnElement[float]:
        return literal(clock.CLOCK.time(), Float)

    def opening_error(self, error: BaseException | None) -> LuthierError:
        return opening_error(self._path, error)

    def allow_long_statements(self, connection: Connection) -> None:
        pass

    def integrity_errors(self, engine: Engine) -> list[str]:
        """The findings of SQLite's check of the whole file, which reads every page."""
        try:
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"PRAGMA integrity_check({_MAX_INTEGRITY_ERRORS})").scalars().all()
        except DatabaseError as error:
            if not is_damaged(error.orig):
                raise
            return [str(error.orig)]
        return [str(row) for row in rows if row != "ok"]

    def opened(self) -> None:
        self._path.chmod(0o600)  # an existing folder may be readable by others

    def tidy(self, engine: Engine) -> None:
        """Move the write-ahead log into the database file, as far as no reader prevents it."""
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # `_begin` starts transactions, not the driver
    cursor = connection.cursor()
    busy_timeout = f"busy_timeout={_BUSY_TIMEOUT_MS}"
    for pragma in (busy_timeout, "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
