"""Arithmetic of jobs."""

import pytest

from luthier.data.cost_estimate import Estimate, auto_epochs, estimate, openai_epochs, openai_price, training_cost


def test_the_formula() -> None:
    assert training_cost(10_000, 10, 0.016) == pytest.approx(1.60)
    assert training_cost(10_000, 10, 0.008) == pytest.approx(0.80)
    assert training_cost(0, 10, 0.016) == 0


@pytest.mark.parametrize(
    ("n", "epochs"),
    # The first three were seen in real jobs; the others are the edges of the rule.
    [
        *((10, 10), (100, 3), (103, 3)),
        *((0, 25), (1, 25), (4, 25), (5, 20), (33, 3), (34, 3)),
        *((8333, 3), (8334, 2), (12_500, 2), (12_501, 1), (10**9, 1)),
    ],
)
def test_openais_epochs(n: int, epochs: int) -> None:
    assert openai_epochs(n) == auto_epochs(n, 0.49) == epochs


@pytest.mark.parametrize(
    ("n", "epochs"),
    [(0, 25), (10, 10), (19, 5), (20, 5), (21, 5), (200, 5), (249, 5), (250, 4), (333, 4), (334, 3), (8334, 2)],
)
def test_few_calls_get_more_epochs(n: int, epochs: int) -> None:
    assert auto_epochs(n, 0.5) == epochs


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gpt-4o-mini", 3.00),
        ("gpt-4o-mini-2024-07-18", 3.00),
        ("gpt-4o-2024-08-06", 25.00),
        ("gpt-4.1-nano-2025-04-14", 1.50),
        ("gpt-3.5-turbo", 8.00),
        ("gpt-3.5-turbo-0125", 8.00),
        ("davinci-002", 6.00),
        ("ft:gpt-4o-mini-2024-07-18:org:suffix:9Wou7j8z", 3.00),
        ("gpt-4o-audio-preview", None),
        ("o4-mini-2025-04-16", None),
        ("my-own-model", None),
        ("", None),
    ],
)
def test_prices(model: str, price: float | None) -> None:
    assert openai_price(model) == price


def test_an_estimate() -> None:
    estimated = estimate([100] * 100, n_epochs=10, model="gpt-3.5-turbo-0125", tokens_per_s=500.0)
    assert estimated == Estimate(100, 10_000, 10, 100_000, estimated.hosted_price_usd, 200.0)
    assert estimated.hosted_price_usd == pytest.approx(0.80)


def test_what_is_not_known_is_none() -> None:
    estimated = estimate([7], n_epochs=3, model="local", tokens_per_s=None)
    assert estimated == Estimate(1, 7, 3, 21, None, None)
