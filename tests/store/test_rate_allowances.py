"""Rate limits over all servers: never more than one bucket lets through, and few transactions for a busy key."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.store import Store
from luthier.store.rate_allowances import Exchange, RateAllowances
from luthier.types.clock import Clock
from luthier.types.shared_buckets import ALLOWANCE_S, SharedBuckets
from luthier.types.token_bucket import TokenBucket
from property_examples import example_count

KEY = "the digest of a key"
PLENTY = 10**6


class Cluster:
    """Servers whose clocks differ, and in place of the database one row."""

    def __init__(self, servers: int, **per_minute: int) -> None:
        self.now_s, self.exchanges, self.loses_answer = 1000.0, 0, False
        self._per_minute = per_minute
        buckets = {name: TokenBucket(limit, limit, self.now_s) for name, limit in per_minute.items()}
        self.row = SharedBuckets(buckets, {})
        self._offsets_s = [1e6 * number for number in range(servers)]
        self._servers = [self._server(number) for number in range(servers)]
        self.accepted: list[tuple[float, dict[str, int]]] = []  # when, at which cost

    def _server(self, number: int) -> RateAllowances:
        return RateAllowances(self, lambda: self.now_s + self._offsets_s[number])

    def exchange(
        self, key: str, per_minute: Mapping[str, int], cost: Mapping[str, int], *, holder: str,
        unspent: Mapping[str, float], wished: Mapping[str, float],
    ) -> Exchange:  # fmt: skip
        self.exchanges += 1
        refused, allowance = self.row.exchange(holder, unspent, cost, wished, self.now_s)
        if self.loses_answer:
            raise ConnectionError
        return Exchange(self.row.buckets, refused, allowance)

    def send(self, number: int, tokens: int = 1) -> bool:
        cost = {"requests": 1, "tokens": tokens}
        try:
            buckets, refused = self._servers[number].spend(KEY, self._per_minute, cost)
        except ConnectionError:
            return False
        assert all(-1e-6 <= bucket.remaining <= bucket.limit for bucket in buckets.values())
        if not refused:
            self.accepted.append((self.now_s, cost))
        return not refused

    def restart(self, number: int) -> None:
        self._servers[number] = self._server(number)

    def most_above_one_bucket(self) -> float:
        """By how much any span of time exceeded what one full bucket would have let through in it."""
        excess = 0.0
        for name, limit in self._per_minute.items():
            totals = list(accumulate((cost[name] for _, cost in self.accepted), initial=0))
            refilled = [limit / 60 * at_s for at_s, _ in self.accepted]
            # Of the span from i to j: totals[j + 1] - totals[i] - (refilled[j] - refilled[i]) - limit.
            lowest = float("inf")
            for index, amount in enumerate(refilled):
                lowest = min(lowest, totals[index] - amount)
                excess = max(excess, totals[index + 1] - amount - lowest - limit)
        return excess


REQUEST = st.tuples(
    st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0, ALLOWANCE_S, 30.0, 70.0]),  # after the one before
    st.integers(0, 2),  # server
    st.sampled_from([1, 1, 10, 100, 700]),  # tokens
    st.sampled_from(["answered"] * 8 + ["restart", "lost"]),
    st.integers(1, 20),  # times
)


@settings(max_examples=example_count(60))
@given(
    requests=st.lists(REQUEST, min_size=5, max_size=40),
    per_minute=st.sampled_from([{"requests": 4}, {"requests": 60, "tokens": 700}, {"tokens": 5000}, {"requests": 900}]),
)
def test_no_span_of_time_has_more_than_one_bucket_lets_through(
    requests: list[tuple[float, int, int, str, int]], per_minute: dict[str, int]
) -> None:
    cluster = Cluster(3, **per_minute)
    for gap_s, number, tokens, fate, times in requests:
        if fate == "restart":
            cluster.restart(number)
        cluster.loses_answer = fate == "lost"
        for _ in range(times):
            cluster.now_s += gap_s / times
            cluster.send(number, tokens)
    assert cluster.most_above_one_bucket() < 1e-6


def test_a_busy_key_costs_few_transactions() -> None:
    cluster = Cluster(2, requests=PLENTY, tokens=PLENTY)
    for count in range(20 * 100):
        cluster.now_s += 0.01
        assert cluster.send(count % 2, tokens=3)
    assert cluster.exchanges < 40
    refused = Cluster(1, requests=60)
    assert sum(refused.send(0) for _ in range(500)) == 60
    assert refused.exchanges < 61


def test_a_key_that_sends_little_is_counted_request_by_request() -> None:
    """Its allowance would lie unused on one server while another one refuses."""
    cluster = Cluster(2, requests=6)
    for number in (0, 1, 0, 1, 0, 1):
        assert cluster.send(number)
        cluster.now_s += 0.05
    assert not cluster.send(0)
    assert cluster.exchanges == 7


def test_what_is_not_spent_comes_back() -> None:
    """Three servers with uneven load answer nearly what one server would."""
    per_minute = 900
    cluster = Cluster(3, requests=per_minute)
    for step in range(60 * 20):
        cluster.now_s += 0.05
        for number in (0, 0, 1 if step % 5 else 2):
            cluster.send(number)
    assert len(cluster.accepted) > 0.97 * 2 * per_minute  # the burst, and a minute of refills


def test_two_servers_count_in_one_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: 1_800_000_000.0, lambda: 0.0))
    store = Store(tmp_path)
    servers = [RateAllowances(store.rate_limits, lambda: 0.0) for _ in range(2)]
    limits, cost = {"requests": 30, "tokens": 500}, {"requests": 1, "tokens": 9}
    answers = [servers[number % 2].spend(KEY, limits, cost) for number in range(60)]
    assert 20 < sum(refused is None for _, refused in answers) <= 30
    assert {refused for _, refused in answers} == {None, "requests"}
    store.close()
