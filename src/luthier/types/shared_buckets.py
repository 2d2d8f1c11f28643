"""Token buckets of one API key that several servers spend from, each from an allowance that it takes in advance.

What the buckets hold and what is out in allowances is never more than the limit together, and refills go to the
buckets alone. So however servers take, spend, return or lose their allowances, no more is spent in any time than one
bucket would have let through. Pure: knows no database and no clock.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from luthier.types.token_bucket import TokenBucket, spend

ALLOWANCE_S = 5.0  # how long an allowance may be spent
_FORGOTTEN_S = 60.0  # after its end, when its holder has not settled it; a bucket is full again after as long
_SHARE = 0.25  # of what a bucket holds that one allowance takes at most: other servers come by, too
_MIN_REQUESTS = 2  # that an allowance has to cover, else it saves nothing


class Allowance(NamedTuple):
    """`amounts` by the name of the limit, to be spent until `until_s`."""

    until_s: float
    amounts: Mapping[str, float]


@dataclass
class SharedBuckets:
    """`buckets` by the name of the limit, `allowances` by their holders, which are servers."""

    buckets: dict[str, TokenBucket]
    allowances: dict[str, Allowance]

    def exchange(
        self,
        holder: str,
        unspent: Mapping[str, float],
        cost: Mapping[str, int],
        wished: Mapping[str, float],
        now_s: float,
    ) -> tuple[str | None, Allowance | None]:
        """Ends the holder's allowance, of which `unspent` comes back, and takes the cost and a new allowance.

        The name of a limit that the cost exceeds; then nothing is taken. The allowance is of at most `wished`, in whole
        numbers; None where the buckets hold too little for one.
        """
        self._refill(now_s)
        self._settle(holder, unspent)
        refused = spend(self.buckets, cost)
        return refused, None if refused else self._take(holder, wished, now_s)

    def _refill(self, now_s: float) -> None:
        """Allowances that nobody has settled for long count as spent at the time when they were taken."""
        for holder, allowance in sorted(self.allowances.items(), key=lambda entry: entry[1].until_s):
            forgotten_s = allowance.until_s + _FORGOTTEN_S
            if forgotten_s <= now_s:
                self._refill_until(forgotten_s)
                del self.allowances[holder]
        self._refill_until(now_s)

    def _settle(self, holder: str, unspent: Mapping[str, float]) -> None:
        allowance = self.allowances.pop(holder, None)
        if allowance is None:
            return
        for name, bucket in self.buckets.items():
            bucket.remaining += min(unspent.get(name, 0.0), allowance.amounts.get(name, 0.0))

    def _take(self, holder: str, wished: Mapping[str, float], now_s: float) -> Allowance | None:
        amounts = {
            name: math.floor(min(wished.get(name, 0.0), _SHARE * bucket.remaining))
            for name, bucket in self.buckets.items()
        }
        if min(amounts.values(), default=0) < 1 or amounts.get("requests", _MIN_REQUESTS) < _MIN_REQUESTS:
            return None
        for name, amount in amounts.items():
            self.buckets[name].remaining -= amount
        self.allowances[holder] = Allowance(now_s + ALLOWANCE_S, amounts)
        return self.allowances[holder]

    def _refill_until(self, now_s: float) -> None:
        for name, bucket in self.buckets.items():
            bucket.refill(now_s, sum(allowance.amounts.get(name, 0.0) for allowance in self.allowances.values()))
