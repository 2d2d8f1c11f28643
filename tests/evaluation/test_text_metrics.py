"""Scores of text, by hand and against published implementations' values."""

import pytest

from luthier.evaluation.text_metrics import (
    are_labels,
    chrf,
    exact_match,
    macro_f1,
    normalize,
    repetition,
    rouge_l,
    tokenize,
)


@pytest.mark.parametrize("text", ["基金定投是什么？", "What is a fund?", "ETF 基金"])
def test_identical_texts_score_one(text: str) -> None:
    assert chrf(text, text) == pytest.approx(1)
    assert rouge_l(text, text) == pytest.approx(1)
    assert exact_match(text, text)


def test_chinese_characters_are_tokens() -> None:
    assert tokenize("买入ETF基金 2 份") == ["买", "入", "etf", "基", "金", "2", "份"]


def test_rouge_l_by_hand() -> None:
    """Common subsequence 基金 风险 (4 of 6 and of 5 characters): 2 * 4 / 11."""
    assert rouge_l("基金有高风险", "基金风险大") == pytest.approx(8 / 11)
    assert rouge_l("the cat sat", "the dog sat") == pytest.approx(2 / 3)


def test_chrf_by_hand() -> None:
    """abc against abd: runs of 1: 2/3, of 2: 1/2, of 3: 0; precision and recall 7/18 each."""
    assert chrf("abc", "abd") == pytest.approx(7 / 18)
    assert chrf("基金风险", "完全不同") == 0


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("The cat sat on the mat.", "A cat sat on a mat today", 0.413899),
        ("风险随收益上升，买入之前请查看费用。", "买入前请看费用，风险上升。", 0.201067),
        ("3.5 degrees at noon", "3,5 degrees", 0.4479),
    ],
)
def test_chrf_is_that_of_sacrebleu(reference: str, answer: str, score: float) -> None:
    """Of sacreBLEU 2.6.0: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no."""
    assert chrf(reference, answer) == pytest.approx(score, abs=1e-6)


def test_nothing_said() -> None:
    assert chrf("a", "") == 0
    assert rouge_l("a", "") == 0
    assert rouge_l("", "") == 1
    assert repetition("") == 0


def test_exact_match_forgives_width_case_and_a_final_stop() -> None:
    assert exact_match("Card_Lost", " card_lost. ")
    assert exact_match("病假３天。", "病假3天")
    assert not exact_match("card lost", "card stolen")


def test_a_model_that_is_stuck_repeats_itself() -> None:
    assert repetition("买入 " * 50) > 0.9
    assert repetition("the quick brown fox jumps over the lazy dog") == 0


def test_macro_f1_by_hand() -> None:
    """a: 2 * 1 / 3; b: 2 * 1 / 3; c is wanted and never said: 0."""
    assert macro_f1(["a", "a", "b", "c"], ["a", "b", "b", "x"]) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_labels_are_recognised() -> None:
    assert are_labels(["card_lost", "refund", "pin"] * 5)
    assert not are_labels([f"answer number {i}" for i in range(30)])
    assert normalize(" Ａ　b ") == "a b"
