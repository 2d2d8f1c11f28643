"""Confidence intervals of metrics, and paired comparisons of two models.

A difference counts as significant only if its paired 95 % interval excludes 0 *and* the exact test gives p < 0.025: a
report makes many comparisons, and at 0.05 one in twenty between equal models would be reported as a difference.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution
_RESAMPLES = 4000
_MAX_DRAWS = 4_000_000  # random numbers in memory at a time
_MAX_JACKKNIFE = 1000  # cases; with more, the acceleration of an interval is practically 0
_SIGNIFICANCE_LEVEL = 0.025
_SEED = 20231  # fixed, so that the same answers give the same report


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % confidence interval from `low` to `high`. `n`: the number of cases; NaN if it is 0."""

    value: float
    low: float
    high: float
    n: int


NO_CASES = Interval(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Difference:
    """The second model's metric minus the first's, on the same `n` cases, with its 95 % confidence interval and the `p`
    of the paired test.
    """

    value: float
    low: float
    high: float
    p: float
    n: int

    @property
    def decidable(self) -> bool:
        """Whether the two-sided test can reach the significance level at all: its smallest p is 2 / 2^n."""
        return 2.0 ** (1 - self.n) < _SIGNIFICANCE_LEVEL

    @property
    def interval_excludes_zero(self) -> bool:
        return bool(self.n > 0 and not self.low <= 0 <= self.high)

    @property
    def significant(self) -> bool:
        return self.interval_excludes_zero and self.p < _SIGNIFICANCE_LEVEL


def proportion(hits: float, n: int) -> Interval:
    """A proportion with Wilson's score interval. `hits` is fractional if several answers to a case are averaged."""
    if n == 0:
        return NO_CASES
    share, z2 = hits / n, _Z**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if hits == 0 else center - half
    high = 1.0 if hits == n else center + half
    return Interval(share, low, high, n)


def bootstrap_mean(values: Sequence[float]) -> Interval:
    """A mean with its bootstrap interval."""
    array = np.asarray(values, dtype=float)
    return bootstrap_interval(lambda sample: float(array[sample].sum()) / len(sample), len(array))


def bootstrap_interval(metric: Callable[[np.ndarray], float], n: int) -> Interval:
    """A metric over `n` cases with its BCa bootstrap interval; `metric` maps case indices (int [n]) to its value."""
    if n == 0:
        return NO_CASES
    generator = np.random.default_rng(_SEED)
    values = np.array([metric(sample) for rows in _batch_sizes(n) for sample in generator.integers(0, n, (rows, n))])
    cases = np.arange(n)
    value = metric(cases)
    jackknife = [metric(np.delete(cases, case)) for case in cases] if 1 < n <= _MAX_JACKKNIFE else []
    low, high = np.nanquantile(values, _bca_levels(values, value, np.array(jackknife)))
    return Interval(value, float(low), float(high), n)


def _bca_levels(values: np.ndarray, value: float, jackknife: np.ndarray) -> tuple[float, float]:
    """The quantile levels of a bias-corrected and accelerated 95 % interval (Efron 1987).

    Args:
        values: The metric in each resample, [resamples]; NaN where it is undefined.
        value: The metric over all cases.
        jackknife: The metric without each case, [n]; empty for an acceleration of 0.
    """
    below = float(np.nanmean(values < value) + np.nanmean(values <= value)) / 2
    gaps = np.nanmean(jackknife) - jackknife if len(jackknife) else jackknife
    spread = float(np.nansum(gaps**2))
    if not 0 < below < 1:  # all values equal, or nearly
        return 0.025, 0.975
    acceleration = float(np.nansum(gaps**3)) / (6 * spread**1.5) if spread else 0.0
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    low, high = (normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-_Z, _Z))
    return low, high


def _batch_sizes(n: int) -> Iterator[int]:
    """The numbers of resamples of `n` cases in batches of bounded memory."""
    batch = max(1, _MAX_DRAWS // n)
    for start in range(0, _RESAMPLES, batch):
        yield min(batch, _RESAMPLES - start)


def paired_proportions(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """Compares two models that are right or wrong on the same cases: Bonett and Price's interval (2012), McNemar's
    exact test.
    """
    n = len(first)
    if n == 0:
        return _NO_DIFFERENCE
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    won, lost = pairs.count((False, True)), pairs.count((True, False))
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    return Difference((won - lost) / n, low, high, _sign_test(won, lost), n)


def paired_means(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compares two models that are scored on the same cases: BCa bootstrap interval of the mean difference, sign-flip
    test.
    """
    gaps = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    n = len(gaps)
    if n == 0:
        return _NO_DIFFERENCE
    generator = np.random.default_rng(_SEED)
    means = np.concatenate([gaps[generator.integers(0, n, (rows, n))].mean(axis=1) for rows in _batch_sizes(n)])
    jackknife = (gaps.sum() - gaps) / (n - 1) if n > 1 else gaps[:0]
    low, high = np.quantile(means, _bca_levels(means, float(gaps.mean()), jackknife))
    signs = (generator.choice((-1.0, 1.0), (rows, n)) for rows in _batch_sizes(n))
    flipped = np.concatenate([(gaps * sign).mean(axis=1) for sign in signs])
    as_extreme = int((np.abs(flipped) >= abs(gaps.mean()) - 1e-12).sum())
    return Difference(float(gaps.mean()), float(low), float(high), (as_extreme + 1) / (_RESAMPLES + 1), n)


_NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, 1.0, 0)


def _sign_test(won: int, lost: int) -> float:
    """The p of a two-sided binomial test: how likely a result at least as extreme is between equal models."""
    n = won + lost
    tail = sum(math.comb(n, k) for k in range(max(won, lost), n + 1))
    return float(min(1.0, 2 * tail / 2**n))
