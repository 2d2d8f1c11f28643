"""Losses by hand: sums over sums, and models that cut text otherwise are not compared."""

import pytest

from luthier.evaluation.html_report import render_html
from luthier.evaluation.losses import loss_metrics
from luthier.evaluation.model_run import ModelRun, efficiency
from luthier.evaluation.report import build_report
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval
from luthier.types.evaluations import ExampleLoss


def loss(total: float, tokens: int, correct: int, weight: float | None = None) -> ExampleLoss:
    weight = tokens if weight is None else weight
    return ExampleLoss(loss=total, weight=weight, tokens=tokens, correct_tokens=correct, truncated=False)


def test_long_answers_count_by_their_tokens() -> None:
    metrics, scores = loss_metrics([loss(8.0, 8, 2), loss(1.0, 1, 1), loss(0.0, 1, 1, weight=0)], complete=True)
    assert metrics["full_valid_loss"].value == 1.0  # 9 nats over a weight of 9
    assert metrics["full_valid_mean_token_accuracy"].value == 0.4  # 4 of 10, not (1/4 + 1 + 1) / 3
    assert {figure.n for figure in metrics.values()} == {3}
    for name, figure in metrics.items():
        assert sum(scores[name]) / 3 == pytest.approx(figure.value)
        assert figure.low <= figure.value <= figure.high


def test_a_part_of_a_file_has_another_name_and_nothing_trained_none() -> None:
    assert set(loss_metrics([loss(1.0, 2, 1)], complete=False)[0]) == {"valid_loss", "valid_mean_token_accuracy"}
    assert loss_metrics([loss(0.0, 0, 0)], complete=True) == ({}, {})
    assert loss_metrics([], complete=True) == ({}, {})


def _run(model: str, nats: float, tokens: int) -> ModelRun:
    interval = Interval(nats, nats, nats, 20)
    scores = {"full_valid_loss": [nats] * 20, "exact_match": [0.0] * 20}
    metrics = {"full_valid_loss": interval, "exact_match": interval}
    return ModelRun(model, "full", metrics, scores, efficiency=efficiency([Answer("a")]), loss_tokens=[tokens] * 20)


def test_less_loss_is_better_where_tokens_are_the_same() -> None:
    report = build_report("text", "f", 20, [_run("ft:a", 1.0, 7), _run("a", 2.0, 7), _run("b", 0.5, 9)])
    compared = {(comparison.metric, comparison.first[0]) for comparison in report.comparisons}
    assert compared == {("exact_match", "a"), ("exact_match", "b"), ("full_valid_loss", "a")}
    assert "loss: ft:a is better than a (-1.000)." in report.advice("en")


def test_losses_that_rise_again_are_told_and_drawn() -> None:
    report = build_report("text", "f", 20, [_run("ft:a", 1.0, 7)], [(1, 0.5), (2, 0.4), (3, 0.6)])
    assert any("Overfitting since epoch 2" in line for line in report.advice("en"))
    assert any(line.startswith("第 2 轮之后过拟合") for line in report.advice("zh"))
    assert render_html(report, "en").count("<circle") == 3
    assert "<circle" not in render_html(build_report("text", "f", 20, [_run("ft:a", 1.0, 7)]), "en")
