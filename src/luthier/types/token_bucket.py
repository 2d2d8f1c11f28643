"""Token buckets: how much of a limit per minute is left."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class TokenBucket:
    """Refills continuously at `limit` a minute; held `remaining` at `updated_s`."""

    limit: int
    remaining: float
    updated_s: float

    def refill(self, now_s: float, elsewhere: float = 0.0) -> None:
        """`elsewhere`: of the limit, what may be spent without this bucket, and finds no room in it meanwhile."""
        capacity = max(0.0, self.limit - elsewhere)
        self.remaining = min(capacity, self.remaining + max(0.0, now_s - self.updated_s) * self.limit / 60)
        self.updated_s = now_s

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is available."""
        return max(0.0, (amount - self.remaining) * 60 / self.limit)


def spend(buckets: Mapping[str, TokenBucket], cost: Mapping[str, int]) -> str | None:
    """Takes the cost, by name, from the buckets. The name of one that holds too little, with nothing taken from any."""
    for name, bucket in buckets.items():
        if bucket.remaining < cost[name]:
            return name
    for name, bucket in buckets.items():
        bucket.remaining -= cost[name]
    return None
