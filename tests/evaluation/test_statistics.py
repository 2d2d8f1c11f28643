"""Intervals against published values, and claims that stay quiet where there is nothing to claim."""

import math

import numpy as np
import pytest

from luthier.evaluation.statistics import bootstrap_mean, paired_means, paired_proportions, proportion


def test_wilson_interval_of_40_in_50() -> None:
    result = proportion(40, 50)
    assert (round(result.value, 2), round(result.low, 4), round(result.high, 4)) == (0.8, 0.6696, 0.8876)


def test_a_rate_of_nothing_is_not_a_number() -> None:
    assert math.isnan(proportion(0, 0).value)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 3)])
def test_a_rate_lies_within_its_interval(hits: int, n: int) -> None:
    result = proportion(hits, n)
    assert 0 <= result.low <= result.value <= result.high <= 1


def test_mcnemar_by_hand() -> None:
    """8 won, 1 lost: P(at least 8 of 9) twice = 2 * (9 + 1) / 512."""
    first = [False] * 8 + [True] + [True] * 5
    second = [True] * 8 + [False] + [True] * 5
    result = paired_proportions(first, second)
    assert result.p == pytest.approx(20 / 512)
    assert result.value == pytest.approx(7 / 14)
    assert not result.significant  # 0.039: one comparison in 26 between equal models looks like this
    assert paired_proportions([*first, False], [*second, True]).significant


def test_a_few_more_right_are_no_difference() -> None:
    result = paired_proportions([False] * 3 + [True] * 17, [True] * 20)
    assert result.value == pytest.approx(0.15)
    assert not result.significant


@pytest.mark.long
@pytest.mark.parametrize("n", [20, 60])
def test_between_equal_models_a_difference_is_seldom_claimed(n: int) -> None:
    generator = np.random.default_rng(n)
    rates = means = 0
    for _ in range(200):
        pair = generator.random((2, n))
        rates += paired_proportions(list(pair[0] < 0.6), list(pair[1] < 0.6)).significant
        means += paired_means(list(pair[0] ** 2), list(pair[1] ** 2)).significant
    assert rates <= 10
    assert means <= 10


def test_a_real_difference_is_seen() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, 100), generator.normal(1, 1, 100)
    assert paired_means(list(first), list(second)).significant
    assert paired_proportions(list(first > 0), list(second > 0)).significant


def test_the_interval_of_skewed_values_is_that_of_scipy() -> None:
    """BCa of scipy.stats.bootstrap 1.17.1 with 100,000 resamples; percentiles are 0.66 and 1.17."""
    values = np.random.default_rng(7).lognormal(0, 1, 30)
    result = bootstrap_mean(list(values))
    assert (result.low, result.high) == pytest.approx((0.695, 1.250), rel=0.03)


def test_the_interval_of_equal_values_is_that_value() -> None:
    result = bootstrap_mean([0.5] * 8)
    assert (result.low, result.high) == (0.5, 0.5)


def test_a_mean_lies_within_its_interval() -> None:
    result = bootstrap_mean([0.0, 0.5, 1.0, 0.25])
    assert result.value == pytest.approx(0.4375)
    assert result.low < result.value < result.high
