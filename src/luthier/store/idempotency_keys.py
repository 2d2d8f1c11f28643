"""Answers that are kept for a day, to be given again to whoever asks the same with the same key.

Knows nothing about requests: a key and what was asked come as digests.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import JSON, Column, Integer, LargeBinary, String, Table, delete, insert, select

from luthier.store.database import Database, metadata
from luthier.types.common import now

KEPT_S = 24 * 3600
MOST_KEPT = 10_000
MOST_BYTES = 1024 * 1024  # a longer answer is not kept

replays = Table(
    "replays",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), unique=True, nullable=False),
    Column("asked", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Integer, nullable=False),
)


@dataclass(frozen=True)
class Kept:
    """`asked`: a digest of the request that it answers."""

    asked: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Replays:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, key: str) -> Kept | None:
        with self._database.read() as connection:
            fresh = select(replays).where(replays.c.key == key, replays.c.created_at > now() - KEPT_S)
            row = connection.execute(fresh).mappings().first()
        return Kept(row["asked"], row["status"], row["headers"], row["body"]) if row else None

    def keep(self, key: str, answer: Kept) -> None:
        """For a day, or until so many newer ones have come."""
        if len(answer.body) > MOST_BYTES:
            return
        values = {"asked": answer.asked, "status": answer.status, "headers": dict(answer.headers), "body": answer.body}
        with self._database.write() as connection:
            connection.execute(delete(replays).where((replays.c.created_at <= now() - KEPT_S) | (replays.c.key == key)))
            made = connection.execute(insert(replays).values(key=key, **values, created_at=now()))
            newest: int = made.inserted_primary_key[0] if made.inserted_primary_key else 0
            connection.execute(delete(replays).where(replays.c.seq <= newest - MOST_KEPT))
