"""Intervals against published values, and claims that stay quiet where there is nothing to claim."""

import math

import numpy as np
import pytest

from luthier.evaluation.statistics import mean, paired_mean, paired_rate, rate


def test_wilson_interval_of_40_in_50() -> None:
    found = rate(40, 50)
    assert (round(found.value, 2), round(found.low, 4), round(found.high, 4)) == (0.8, 0.6696, 0.8876)


def test_a_rate_of_nothing_is_not_a_number() -> None:
    assert math.isnan(rate(0, 0).value)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 3)])
def test_a_rate_lies_within_its_interval(hits: int, n: int) -> None:
    found = rate(hits, n)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_mcnemar_by_hand() -> None:
    """8 won, 1 lost: P(at least 8 of 9) twice = 2 * (9 + 1) / 512."""
    first = [False] * 8 + [True] + [True] * 5
    second = [True] * 8 + [False] + [True] * 5
    found = paired_rate(first, second)
    assert found.p == pytest.approx(20 / 512)
    assert found.value == pytest.approx(7 / 14)
    assert not found.seen  # 0.039: one comparison in 26 between equal models looks like this
    assert paired_rate([*first, False], [*second, True]).seen


def test_a_few_more_right_are_no_difference() -> None:
    found = paired_rate([False] * 3 + [True] * 17, [True] * 20)
    assert found.value == pytest.approx(0.15)
    assert not found.seen


@pytest.mark.parametrize("n", [20, 60])
def test_between_equal_models_a_difference_is_seldom_claimed(n: int) -> None:
    generator = np.random.default_rng(n)
    rates = means = 0
    for _ in range(200):
        pair = generator.random((2, n))
        rates += paired_rate(list(pair[0] < 0.6), list(pair[1] < 0.6)).seen
        means += paired_mean(list(pair[0] ** 2), list(pair[1] ** 2)).seen
    assert rates <= 10
    assert means <= 10


def test_a_real_difference_is_seen() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, 100), generator.normal(1, 1, 100)
    assert paired_mean(list(first), list(second)).seen
    assert paired_rate(list(first > 0), list(second > 0)).seen


def test_a_mean_lies_within_its_interval() -> None:
    found = mean([0.0, 0.5, 1.0, 0.25])
    assert found.value == pytest.approx(0.4375)
    assert found.low < found.value < found.high
