"""Responses stored under idempotency keys for a day. Keys and requests are stored as digests.

A key is reserved before its request runs, with a seed that determines the ids of the objects that the request creates.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import JSON, Column, LargeBinary, Table, delete, insert, select

from luthier.store.column_types import Int64, short_text
from luthier.store.database import Database, metadata
from luthier.types.common import now

RETENTION_S = 24 * 3600
MAX_KEYS = 10_000
MAX_RESPONSE_BYTES = 1024 * 1024  # a larger response is not stored

idempotency_keys = Table(
    "replays",
    metadata,
    Column("seq", Int64, primary_key=True, autoincrement=True),
    Column("key", short_text(64), unique=True, nullable=False),
    Column("asked", short_text(64), nullable=False),  # the digest of the request
    Column("status", Int64, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Int64, nullable=False),
)
reservations = Table(
    "idempotency_reservations",
    metadata,
    Column("key", short_text(64), primary_key=True),
    Column("request_digest", short_text(64), nullable=False),
    Column("seed", short_text(64), nullable=False),
    Column("created_at", Int64, nullable=False),
)


@dataclass(frozen=True)
class StoredResponse:
    """`request_digest`: the digest of the request that got this response."""

    request_digest: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class IdempotencyKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: str) -> StoredResponse | None:
        table = idempotency_keys
        with self._database.read() as connection:
            valid = select(table).where(table.c.key == key, table.c.created_at > now() - RETENTION_S)
            row = connection.execute(valid).mappings().first()
        return StoredResponse(row["asked"], row["status"], row["headers"], row["body"]) if row else None

    def reserve(self, key: str, request_digest: str) -> tuple[str, str]:
        """The digest and the seed of the first request with the key, within a day; this request may be the first."""
        table, expired = reservations, reservations.c.created_at <= now() - RETENTION_S
        with self._database.write() as connection:
            connection.execute(delete(table).where(expired))
            row = connection.execute(select(table).where(table.c.key == key)).mappings().first()
            if row:
                return row["request_digest"], row["seed"]
            seed = secrets.token_hex(32)
            values = {"key": key, "request_digest": request_digest, "seed": seed, "created_at": now()}
            connection.execute(insert(table).values(**values))
            return request_digest, seed

    def release(self, key: str) -> None:
        """Release a key whose request created nothing, or whose response is stored."""
        with self._database.write() as connection:
            connection.execute(delete(reservations).where(reservations.c.key == key))

    def save(self, key: str, response: StoredResponse) -> None:
        """Set the response of the key. Expired keys are deleted, and the oldest ones beyond MAX_KEYS."""
        if len(response.body) > MAX_RESPONSE_BYTES:
            return
        table = idempotency_keys
        values = {"status": response.status, "headers": dict(response.headers), "body": response.body}
        values |= {"key": key, "asked": response.request_digest, "created_at": now()}
        with self._database.write() as connection:
            connection.execute(delete(table).where((table.c.created_at <= now() - RETENTION_S) | (table.c.key == key)))
            connection.execute(delete(reservations).where(reservations.c.key == key))
            inserted = connection.execute(insert(table).values(**values)).inserted_primary_key
            newest: int = inserted[0] if inserted else 0
            connection.execute(delete(table).where(table.c.seq <= newest - MAX_KEYS))
