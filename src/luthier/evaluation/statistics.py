"""Intervals and paired comparisons: how sure a figure is, and whether two models differ at all.

A difference is claimed only when its paired 95 % interval excludes 0 *and* the exact test is surer than that: a
report makes many comparisons, and at 0.05 one in twenty between equal models would be announced as a finding.
Knows nothing about what was measured.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054  # 97.5 % point of the normal distribution
_RESAMPLES = 4000
_NUMBERS_AT_ONCE = 4_000_000
_CLAIM = 0.025
_SEED = 20231  # a report made twice from the same answers is the same report


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval. `n`: the cases it was taken from; with none, `value` is NaN."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """`value` is the second model's figure minus the first's, on the same cases. `p`: of the paired exact test."""

    value: float
    low: float
    high: float
    p: float
    n: int

    @property
    def seen(self) -> bool:
        """Whether a difference may be claimed."""
        return bool(self.n > 0 and not self.low <= 0 <= self.high and self.p < _CLAIM)


def rate(hits: int, n: int) -> Interval:
    """A share of cases with Wilson's score interval."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    share, z2 = hits / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == n else middle + half
    return Interval(share, low, high, n)


def mean(values: Sequence[float]) -> Interval:
    """A mean with its bootstrap interval."""
    return bootstrap(lambda chosen: float(np.mean(np.asarray(values)[chosen])), len(values))


def bootstrap(figure: Callable[[np.ndarray], float], n: int) -> Interval:
    """Any figure of `n` cases, as a function of the cases chosen (int [n]), with its percentile interval."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    random = np.random.default_rng(_SEED)
    found = [figure(draw) for rows in _in_parts(n) for draw in random.integers(0, n, (rows, n))]
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Interval(figure(np.arange(n)), float(low), float(high), n)


def _in_parts(n: int) -> Iterator[int]:
    """Resamples of `n` cases each, so many at a time that a large file needs no more memory than a small one."""
    at_once = max(1, _NUMBERS_AT_ONCE // n)
    for start in range(0, _RESAMPLES, at_once):
        yield min(at_once, _RESAMPLES - start)


def paired_rate(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """Two models right or wrong on the same cases: Bonett and Price's interval (2012), McNemar's exact test."""
    n = len(first)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, 1.0, 0)
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    won, lost = pairs.count((False, True)), pairs.count((True, False))
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    return Difference((won - lost) / n, low, high, _sign_test(won, lost), n)


def paired_mean(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Two models scored on the same cases: bootstrap interval of the mean difference, sign-flip test."""
    gaps = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    n = len(gaps)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, 1.0, 0)
    generator = np.random.default_rng(_SEED)
    means = np.concatenate([gaps[generator.integers(0, n, (rows, n))].mean(axis=1) for rows in _in_parts(n)])
    low, high = np.quantile(means, (0.025, 0.975))
    signs = (generator.choice((-1.0, 1.0), (rows, n)) for rows in _in_parts(n))
    flipped = np.concatenate([(gaps * sign).mean(axis=1) for sign in signs])
    as_far = int((np.abs(flipped) >= abs(gaps.mean()) - 1e-12).sum())
    return Difference(float(gaps.mean()), float(low), float(high), (as_far + 1) / (_RESAMPLES + 1), n)


def _sign_test(won: int, lost: int) -> float:
    """Two-sided: how likely at least so lopsided a result is when both are equally good."""
    n = won + lost
    tail = sum(math.comb(n, k) for k in range(max(won, lost), n + 1))
    return float(min(1.0, 2 * tail / 2**n))
