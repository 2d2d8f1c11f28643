"""Metrics against values worked out by hand."""

import math

import pytest

from luthier.evaluation.graders import GraderFailure
from luthier.evaluation.graders.similarity import cosine, similarity
from luthier.types.graders import Metric

_BY_HAND: list[tuple[Metric, str, str, float]] = [
    ("fuzzy_match", "abcd", "abce", 2 * 3 / 8),
    ("fuzzy_match", "天气很好", "天气好", 2 * 3 / 7),
    # 3/4, 1/3, then nothing in common: 1/2 of a match, 1/4 of a match
    ("bleu", "a b c d", "a b x d", (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** (1 / 4)),
    ("bleu", "the cat", "the cat sat down", math.exp(1 - 4 / 2)),
    ("bleu", "今天天气好", "今天天气好", 1.0),
    ("bleu", "a", "b", 0.0),
    ("gleu", "a b c", "a b d", (2 + 1) / (3 + 2 + 1)),
    ("gleu", "天气好", "天气好吗", (3 + 2 + 1) / (4 + 3 + 2 + 1)),
    ("meteor", "the cat sat", "the cat sat", 1 - 0.5 * (1 / 3) ** 3),
    ("meteor", "sat the cat", "the cat sat", 1 - 0.5 * (2 / 3) ** 3),
    ("meteor", "The cat", "the dog", 0.5 * (1 - 0.5)),
    ("meteor", "天气", "天晴", 0.5 * (1 - 0.5)),
    ("meteor", "a", "b", 0.0),
    ("rouge_1", "a b c", "a b d e", 2 * 2 / (3 + 4)),
    ("rouge_2", "a b c", "a b d e", 2 * 1 / (2 + 3)),
    ("rouge_3", "a b c d", "a b c e", 2 * 1 / (2 + 2)),
    ("rouge_4", "一二三四五", "一二三四六", 2 * 1 / (2 + 2)),
    ("rouge_5", "一二三四五", "一二三四五", 1.0),
    ("rouge_l", "a x b y c", "a b c", 2 * 3 / (5 + 3)),
    ("rouge_l", "今天天气好", "今天天气很好", 2 * 5 / (5 + 6)),
]


@pytest.mark.parametrize(("metric", "text", "reference", "expected"), _BY_HAND)
def test_by_hand(metric: Metric, text: str, reference: str, expected: float) -> None:
    assert similarity(metric, text, reference) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_5", "rouge_l"])
def test_equal_is_one_and_nothing_in_common_is_none(metric: Metric) -> None:
    for text in ("one two three four five six", "模型的回答和参考答案一样"):
        assert similarity(metric, text, text) == pytest.approx(1.0)
        assert similarity(metric, text, "") == 0.0
        assert similarity(metric, "", text) == 0.0


@pytest.mark.long
def test_long_texts_are_quick() -> None:
    """Linear or nearly: a quadratic metric would take minutes here."""
    first, second = "词 word 语 " * 5_000, "word 语 词 x " * 5_000
    for metric in ("bleu", "gleu", "meteor", "rouge_2", "rouge_l"):
        assert 0 < similarity(metric, first, second) < 1  # type: ignore[arg-type]


def test_cosine() -> None:
    assert cosine([1, 0], [1, 1]) == pytest.approx(math.sqrt(0.5))
    assert cosine([2, 2], [1, 1]) == pytest.approx(1)
    assert cosine([0, 0], [1, 1]) == 0


@pytest.mark.parametrize("metric", ["fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_l"])
def test_texts_that_take_long_to_compare_are_refused(metric: Metric) -> None:
    with pytest.raises(GraderFailure, match="60,000 characters"):
        similarity(metric, "a", "b" * 60_001)
