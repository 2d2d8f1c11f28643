"""Rate limits shared by all servers: the token buckets of each API key."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import JSON, Column, Float, Table, delete, select, update

from luthier.store.column_types import short_text
from luthier.store.database import Database, insert_once, metadata
from luthier.store.rate_allowances import Exchange
from luthier.types.shared_buckets import Allowance, SharedBuckets
from luthier.types.token_bucket import TokenBucket

_FULL_S = 60.0  # after which any bucket is full again
_ALLOWANCES = "allowances"  # used in `remaining` beside the names of limits

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key", short_text(64), primary_key=True),
    Column("remaining", JSON, nullable=False),  # by the name of the limit, and the allowances by their holders
    Column("updated_s", Float, nullable=False),
)


class RateLimits:
    def __init__(self, database: Database) -> None:
        self._database = database

    def exchange(
        self,
        key: str,
        per_minute: Mapping[str, int],
        cost: Mapping[str, int],
        *,
        holder: str,
        unspent: Mapping[str, float],
        wished: Mapping[str, float],
    ) -> Exchange:
        """Implements `SharedBuckets.exchange`, with the database's clock."""
        this = rate_limits.c.key == key
        with self._database.write(exclusive=False) as connection:
            insert_once(connection, rate_limits, {"key": key, "remaining": {}, "updated_s": 0.0}, "key")
            row = connection.execute(select(rate_limits).where(this).with_for_update()).one()
            now_s = float(connection.scalar(select(self._database.current_time())) or 0.0)
            shared = _read(row.remaining, per_minute, row.updated_s)
            refused, allowance = shared.exchange(holder, unspent, cost, wished, now_s)
            connection.execute(update(rate_limits).where(this).values(remaining=_written(shared), updated_s=now_s))
        return Exchange(shared.buckets, refused, allowance)

    def delete_full(self) -> None:
        """Deletes the rows of keys that have not been used for so long that their buckets are full."""
        with self._database.write() as connection:
            full = rate_limits.c.updated_s < self._database.current_time() - _FULL_S
            connection.execute(delete(rate_limits).where(full))


def _read(remaining: Mapping[str, Any], per_minute: Mapping[str, int], updated_s: float) -> SharedBuckets:
    return SharedBuckets(
        {name: TokenBucket(limit, remaining.get(name, limit), updated_s) for name, limit in per_minute.items()},
        {holder: Allowance(*fields) for holder, fields in remaining.get(_ALLOWANCES, {}).items()},
    )


def _written(shared: SharedBuckets) -> dict[str, Any]:
    remaining: dict[str, Any] = {name: bucket.remaining for name, bucket in shared.buckets.items()}
    return {**remaining, _ALLOWANCES: shared.allowances}
