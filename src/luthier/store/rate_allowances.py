"""Rate limits shared by all servers without a transaction for each request: a server reserves allowances for busy keys.

See `luthier.types.shared_buckets` for why the limit holds. For a key with less than one request in three seconds on a
server, each request is counted in the database. While one server holds an unspent allowance, for at most five seconds,
another one may reject a request that a single server would have accepted.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from luthier.types.ids import new_id
from luthier.types.shared_buckets import ALLOWANCE_S, Allowance
from luthier.types.token_bucket import TokenBucket

# An allowance covers this multiple of the cost that the current rate gives for ALLOWANCE_S.
_MARGIN = 1.25
# An allowance is at most this multiple of the cost since the last exchange, so that two requests in quick succession
# ask for little.
_MAX_GROWTH = 2
# How long a refusal stays valid before the database is asked again, since other servers may have returned allowances.
_REFUSED_S = 0.25


class Exchange(NamedTuple):
    """The database's reply: `buckets` after the exchange, the name of a limit that the cost exceeds, a new
    allowance."""

    buckets: dict[str, TokenBucket]
    refused: str | None
    allowance: Allowance | None


class SharedLimits(Protocol):
    """The buckets in the database (`luthier.store.rate_limits`)."""

    def exchange(
        self,
        key: str,
        per_minute: Mapping[str, int],
        cost: Mapping[str, int],
        *,
        holder: str,
        unspent: Mapping[str, float],
        wished: Mapping[str, float],
    ) -> Exchange: ...


@dataclass
class _Account:
    """The account of one API key on this server. Times are those of this server's clock.

    `buckets`: as of the last exchange, refilled since, for response headers. `unspent`: rest of the allowance. `spent`:
    since the last exchange. `refusal`: the exceeded limit, the cost, and the time until which it is valid.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    buckets: dict[str, TokenBucket] = field(default_factory=dict)
    unspent: dict[str, float] = field(default_factory=dict)
    until_s: float = -math.inf
    exchanged_s: float = -math.inf
    spent: dict[str, int] = field(default_factory=dict)
    refusal: tuple[str, int, float] | None = None

    def limits(self) -> dict[str, int]:
        return {name: bucket.limit for name, bucket in self.buckets.items()}

    def refused(self, cost: Mapping[str, int], now_s: float) -> str | None:
        """The name of the limit that rejects the cost without another exchange, if any."""
        if self.refusal is None:
            return None
        name, amount, until_s = self.refusal
        return name if now_s < until_s and cost[name] >= amount else None

    def spend(self, cost: Mapping[str, int], now_s: float) -> bool:
        """Spend the cost from the allowance; False if it does not cover the cost."""
        if now_s >= self.until_s or any(self.unspent[name] < cost[name] for name in self.unspent):
            return False
        for name in self.unspent:
            self.unspent[name] -= cost[name]
            self.spent[name] = self.spent.get(name, 0) + cost[name]
        return True

    def wished(self, cost: Mapping[str, int], now_s: float) -> dict[str, float]:
        """The allowance to ask for, from the rate since the last exchange, including this request."""
        spent = {name: self.spent.get(name, 0) + amount for name, amount in cost.items()}
        covered = _MARGIN * ALLOWANCE_S / max(now_s - self.exchanged_s, 1e-3)
        return {name: min(covered, _MAX_GROWTH) * amount for name, amount in spent.items()}

    def view(self, now_s: float) -> dict[str, TokenBucket]:
        """The buckets as far as this server knows."""
        view = {}
        for name, bucket in self.buckets.items():
            bucket.refill(now_s, self.unspent.get(name, 0.0))
            view[name] = replace(bucket, remaining=bucket.remaining + self.unspent.get(name, 0.0))
        return view


class RateAllowances:
    """The allowances of one server. Thread-safe."""

    def __init__(self, limits: SharedLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock, self._holder = limits, clock, new_id("server_")
        # At most one entry per key of the server, since access control runs before.
        self._accounts: dict[str, _Account] = {}

    def spend(
        self, key: str, per_minute: Mapping[str, int], cost: Mapping[str, int]
    ) -> tuple[dict[str, TokenBucket], str | None]:
        """Spend the cost. Returns the buckets afterwards and the name of one that has too little; in that case
        nothing is taken from any."""
        account = self._accounts.setdefault(key, _Account())
        with account.lock:
            now_s = self._clock()
            refused, is_covered = None, False
            if account.limits() == per_minute:
                refused = account.refused(cost, now_s)
                is_covered = not refused and account.spend(cost, now_s)
            if not (refused or is_covered):
                refused = self._exchange(account, key, per_minute, cost, now_s)
            return account.view(now_s), refused

    def _exchange(
        self, account: _Account, key: str, per_minute: Mapping[str, int], cost: Mapping[str, int], now_s: float
    ) -> str | None:
        """`now_s` was read before the transaction, so that the allowance ends here no later than in the database."""
        unspent, wished = account.unspent, account.wished(cost, now_s)
        account.unspent, account.until_s = {}, -math.inf  # even if the transaction fails or its outcome is unknown
        buckets, refused, allowance = self._limits.exchange(
            key, per_minute, cost, holder=self._holder, unspent=unspent, wished=wished
        )
        account.buckets = {name: replace(bucket, updated_s=now_s) for name, bucket in buckets.items()}
        account.exchanged_s, account.spent, account.refusal = now_s, {}, None
        if allowance:
            account.unspent, account.until_s = dict(allowance.amounts), now_s + ALLOWANCE_S
        if refused:
            wait_s = account.buckets[refused].wait_s(cost[refused])
            account.refusal = (refused, cost[refused], now_s + min(wait_s, _REFUSED_S))
        return refused
