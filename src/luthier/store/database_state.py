"""What a data folder's database holds, read without opening the store: nothing is created or migrated."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from luthier.store.backup import DATABASE
from luthier.store.migrations import SCHEMA_VERSION
from luthier.types.common import now

_SOON_S = 14 * 24 * 3600


@dataclass(frozen=True)
class DatabaseState:
    """`version`: of the schema; `newest_event`: when it was written, in Unix seconds, None without any.

    `keys`: managed keys that are valid now; `expiring_keys`: the names of those that are not in two weeks.
    """

    version: int
    newest_event: int | None
    keys: int
    expiring_keys: list[str]

    @property
    def is_newer(self) -> bool:
        """Of a later release than this one, which refuses it."""
        return self.version > SCHEMA_VERSION

    @property
    def is_older(self) -> bool:
        """Of an earlier release: it is migrated when a server opens it."""
        return self.version < SCHEMA_VERSION

    @classmethod
    def of(cls, data: Path) -> "DatabaseState | None":
        """None for a folder without a database. Raises sqlite3.Error for a file that is none, or that is damaged."""
        path = data / DATABASE
        if not path.exists():
            return None
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "schema" not in tables:
                return None
            version = int(connection.execute("SELECT version FROM schema").fetchone()[0])
            newest = connection.execute("SELECT max(created_at) FROM events").fetchone()[0]
            expirations = _key_expirations(connection) if "api_keys" in tables else {}
        valid = {name: expires_at for name, expires_at in expirations.items() if expires_at > now()}
        expiring = [name for name, expires_at in valid.items() if expires_at < now() + _SOON_S]
        return cls(version, newest, len(valid), expiring)


def _key_expirations(connection: sqlite3.Connection) -> dict[str, float]:
    """Name and id of each key that was not revoked, with the time of its end."""
    rows = connection.execute("SELECT name, id, expires_at FROM api_keys WHERE revoked_at IS NULL")
    return {f"{name} ({key_id})": float("inf") if end is None else float(end) for name, key_id, end in rows}
