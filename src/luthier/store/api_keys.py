"""API keys that the server manages: created, listed, rotated and revoked while it runs. Only their hashes are stored.

A key has 256 random bits, so its plain SHA-256 cannot be guessed from the table.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, RowMapping, Select, Table, and_, insert, select, update

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, metadata
from luthier.store.pagination import Page, fetch_page
from luthier.types.common import now
from luthier.types.errors import NotFoundError
from luthier.types.ids import new_id
from luthier.types.projects import Role

_PREFIX = "sk-luthier-"
_HINT_CHARACTERS = 4

api_keys = Table(
    "api_keys",
    metadata,
    *key_columns(),
    Column("name", LongText, nullable=False),
    Column("hash", short_text(64), nullable=False, unique=True),
    Column("hint", short_text(16), nullable=False),
    Column("project", short_text(64)),  # null: the whole organization
    Column("role", short_text(16), nullable=False),
    Column("requests_per_minute", Int64),
    Column("tokens_per_minute", Int64),
    Column("max_jobs", Int64),
    Column("max_bytes", BigInteger),
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64),
    Column("revoked_at", Int64),
)


@dataclass(frozen=True)
class StoredKey:
    """`hint`: the key's last characters. Limits per minute are None for those of the settings, `max_jobs` (unfinished
    ones) and `max_bytes` (of stored files) None for no limit. Times: Unix seconds.
    """

    id: str
    name: str
    hint: str
    project: str | None
    role: Role
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_jobs: int | None
    max_bytes: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now())


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        project: str | None,
        role: Role,
        expires_at: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_jobs: int | None = None,
        max_bytes: int | None = None,
    ) -> tuple[StoredKey, str]:
        """Create a key. Returns its row and the key itself, which cannot be retrieved again."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        key_id = new_id("key_")
        row = {
            "id": key_id,
            "name": name,
            "project": project,
            "role": role,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "max_jobs": max_jobs,
            "max_bytes": max_bytes,
            "created_at": now(),
            "expires_at": expires_at,
            **_secret_columns(secret),
        }
        with self._database.write() as connection:
            connection.execute(insert(api_keys).values(**row))
        return self.retrieve(key_id), secret

    def retrieve(self, key_id: str, *, project: str | None = None) -> StoredKey:
        """Retrieve a key; with `project`, only one that is bound to it. Raises NotFoundError."""
        with self._database.read() as connection:
            row = connection.execute(_of_project(project).where(api_keys.c.id == key_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No such API key: {key_id}", param="key_id")
        return _stored_key(row)

    def list(self, *, limit: int, after: str | None, project: str | None = None) -> Page[StoredKey]:
        """List keys, newest first, including revoked ones; with `project`, those bound to it."""
        with self._database.read() as connection:
            return fetch_page(connection, _of_project(project), api_keys, _stored_key, limit=limit, after=after)

    def rotate(self, key_id: str) -> tuple[StoredKey, str]:
        """Set a new secret for a key; the old one stops working immediately. Raises NotFoundError, also for a
        revoked key."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        this = and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        with self._database.write() as connection:
            if not connection.execute(update(api_keys).where(this).values(**_secret_columns(secret))).rowcount:
                raise NotFoundError(f"No such API key: {key_id}", param="key_id")
        return self.retrieve(key_id), secret

    def revoke(self, key_id: str) -> StoredKey:
        """Revoke a key permanently; idempotent. Raises NotFoundError."""
        this = and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        with self._database.write() as connection:
            connection.execute(update(api_keys).where(this).values(revoked_at=now()))
        return self.retrieve(key_id)

    def find(self, secret: str) -> StoredKey | None:
        """Return the valid key with this secret; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.hash == _hash(secret))).mappings().first()
        key = _stored_key(row) if row else None
        return key if key and key.is_valid else None

    def has_any(self) -> bool:
        """Whether there is a key that has not been revoked. Expired keys count, so that a server never opens by
        itself."""
        unrevoked = select(api_keys.c.seq).where(api_keys.c.revoked_at.is_(None)).limit(1)
        with self._database.read() as connection:
            return connection.scalar(unrevoked) is not None


def _of_project(project: str | None) -> Select[Any]:
    return select(api_keys) if project is None else select(api_keys).where(api_keys.c.project == project)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _secret_columns(secret: str) -> dict[str, str]:
    return {"hash": _hash(secret), "hint": secret[-_HINT_CHARACTERS:]}


def _stored_key(row: RowMapping) -> StoredKey:
    return StoredKey(**{name: row[name] for name in StoredKey.__dataclass_fields__})
