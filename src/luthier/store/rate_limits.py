"""Rate limits over all servers: what is left in the token buckets of each API key."""

from collections.abc import Mapping

from sqlalchemy import JSON, Column, Float, Table, delete, select, update

from luthier.store.column_types import short_text
from luthier.store.database import Database, insert_once, metadata
from luthier.types.token_bucket import TokenBucket, spend

_FULL_S = 60.0  # after which any bucket is full again

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key", short_text(64), primary_key=True),
    Column("remaining", JSON, nullable=False),  # by the name of the limit
    Column("updated_s", Float, nullable=False),
)


class RateLimits:
    def __init__(self, database: Database) -> None:
        self._database = database

    def spend(
        self, key: str, per_minute: Mapping[str, int], cost: Mapping[str, int]
    ) -> tuple[dict[str, TokenBucket], str | None]:
        """The buckets afterwards, and the name of one that holds too little; then nothing is taken from any."""
        this = rate_limits.c.key == key
        with self._database.write(exclusive=False) as connection:
            insert_once(connection, rate_limits, {"key": key, "remaining": {}, "updated_s": 0.0}, "key")
            row = connection.execute(select(rate_limits).where(this).with_for_update()).one()
            now_s = float(connection.scalar(select(self._database.current_time())) or 0.0)
            buckets = {
                name: TokenBucket(limit, row.remaining.get(name, limit), row.updated_s)
                for name, limit in per_minute.items()
            }
            for bucket in buckets.values():
                bucket.refill(now_s)
            refused = spend(buckets, cost)
            remaining = {name: bucket.remaining for name, bucket in buckets.items()}
            connection.execute(update(rate_limits).where(this).values(remaining=remaining, updated_s=now_s))
        return buckets, refused

    def delete_full(self) -> None:
        """Deletes the rows of keys that have not been used for so long that their buckets are full."""
        with self._database.write() as connection:
            full = rate_limits.c.updated_s < self._database.current_time() - _FULL_S
            connection.execute(delete(rate_limits).where(full))
