"""Verdicts agree with the figures beside them."""

from typing import Literal

import pytest

from luthier.evaluation.comparison import Comparison
from luthier.evaluation.model_run import ModelRun
from luthier.evaluation.report import build_report
from luthier.evaluation.statistics import Difference, Interval, paired_means, paired_proportions


def verdict(difference: Difference) -> str:
    run = ModelRun("tuned", "full", {}, {"full_valid_loss": [0.0] * difference.n})
    report = build_report("text", "valid.jsonl", difference.n, [run])
    report.comparisons.append(Comparison("full_valid_loss", ("base", "full"), ("tuned", "full"), difference))
    return report.advice("en")[0]


def test_five_examples_that_plainly_differ_are_too_few_for_a_verdict() -> None:
    text = verdict(paired_means([2.9, 2.8, 3.0, 2.7, 2.9], [0.05] * 5))
    assert text == "loss: tuned differs from base by -2.810; 5 examples are too few for a verdict."


def test_equal_models_show_no_difference_at_any_size() -> None:
    assert "no significant difference" in verdict(paired_means([1.0] * 5, [1.0] * 5))
    assert "no significant difference" in verdict(paired_means([1.0, 2.0] * 20, [2.0, 1.0] * 20))


def test_an_interval_without_zero_is_called_uncertain() -> None:
    assert "not certain at n = 9 (p = 0.04)" in verdict(Difference(-0.3, -0.5, -0.1, 0.04, 9))


@pytest.mark.parametrize(("n", "decidable"), [(0, False), (5, False), (6, False), (7, True), (50, True)])
def test_the_test_can_decide_from_seven_examples(n: int, decidable: bool) -> None:
    difference = paired_proportions([False] * n, [True] * n)
    assert difference.decidable == decidable
    assert difference.p < 0.025 or not decidable


def advice(*confusions: dict[str, dict[str, int]], language: Literal["en", "zh"] = "en") -> list[str]:
    """Of one model with definitions, and of the same without them where there are two."""
    metrics = {"call_exact": Interval(0.5, 0.4, 0.6, 20)}
    runs = [
        ModelRun("tuned", definitions, metrics, {}, confusion=confusion)
        for definitions, confusion in zip(("full", "none"), confusions, strict=False)
    ]
    return build_report("functions", "valid.jsonl", 20, runs).advice(language)


SWALLOWED = {"land": {"land": 2, "reject": 9}, "fly": {"reject": 5, "": 1}, "reject": {"reject": 10}}


def test_an_answer_that_swallows_others_is_named() -> None:
    start = "reject was the answer to 14 questions that required other functions (land 9, fly 5, definitions full)"
    assert advice(SWALLOWED)[0].startswith(start)
    assert "有 14 个问题应当用其他函数，却答成了 reject（land 9、fly 5" in advice(SWALLOWED, language="zh")[0]


def test_the_run_in_which_it_swallows_most_is_named() -> None:
    lines = advice({"land": {"land": 11}, "fly": {"fly": 6}, "reject": {"reject": 10}}, SWALLOWED)
    assert [line for line in lines if "definitions none" in line and "reject was the answer to 14" in line] == lines[:1]


def test_calls_that_are_not_made_are_counted() -> None:
    assert advice({"land": {"": 8, "land": 12}})[0].startswith("No function was called for 8 questions")


def test_a_few_confusions_are_no_advice() -> None:
    assert not any("was the answer to" in line for line in advice({"land": {"land": 40, "fly": 2}, "": {"fly": 9}}))
