"""The state of a database, read without opening the store: nothing is created or migrated."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from luthier.store.backup import DATABASE
from luthier.store.migrations import SCHEMA_VERSION
from luthier.store.postgres_backend import PostgresBackend
from luthier.types.common import now
from luthier.types.errors import LuthierError

_SOON_S = 14 * 24 * 3600


@dataclass(frozen=True)
class DatabaseState:
    """`version`: version of the schema; `newest_event`: its time in Unix seconds, None without events.

    `keys`: managed keys that are valid now; `expiring_keys`: the names of those that expire within two weeks.
    """

    version: int
    newest_event: int | None
    keys: int
    expiring_keys: list[str]

    @property
    def is_newer(self) -> bool:
        """Whether it was written by a later release, which this one refuses to open."""
        return self.version > SCHEMA_VERSION

    @property
    def is_older(self) -> bool:
        """Whether it was written by an earlier release: it is migrated when a server opens it."""
        return self.version < SCHEMA_VERSION

    @classmethod
    def of(cls, data: Path, url: str | None) -> "DatabaseState | None":
        """The state of the database at `url`, or of the data folder; None without tables.

        Raises LuthierError for one that cannot be read.
        """
        if url is None and not (data / DATABASE).exists():
            return None
        engine = PostgresBackend(url).create_engine() if url else _read_only(data / DATABASE)
        try:
            with engine.connect() as connection:
                return cls._read(connection)
        except SQLAlchemyError as error:
            raise LuthierError(str(getattr(error, "orig", error)).strip().partition("\n")[0]) from error
        finally:
            engine.dispose()

    @classmethod
    def _read(cls, connection: Connection) -> "DatabaseState | None":
        tables = inspect(connection).get_table_names()
        if "schema" not in tables:
            return None
        version = int(connection.scalar(text("SELECT version FROM schema")))
        newest = connection.scalar(text("SELECT max(created_at) FROM events"))
        expirations = _key_expirations(connection) if "api_keys" in tables else {}
        valid = {name: expires_at for name, expires_at in expirations.items() if expires_at > now()}
        expiring = [name for name, expires_at in valid.items() if expires_at < now() + _SOON_S]
        return cls(version, newest, len(valid), expiring)


def _read_only(path: Path) -> Engine:
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5))


def _key_expirations(connection: Connection) -> dict[str, float]:
    """Name and id of each key that has not been revoked, with its expiry time."""
    rows = connection.execute(text("SELECT name, id, expires_at FROM api_keys WHERE revoked_at IS NULL"))
    return {f"{name} ({key_id})": float("inf") if end is None else float(end) for name, key_id, end in rows}
