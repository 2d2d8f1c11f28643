"""Likeness of texts: the quick search finds what comparing all with all finds."""

import random

from luthier.generate.similarity import ALIKE, Seen, distinct_2, likeness, nearest_likeness, shingles


def test_the_search_agrees_with_comparing_all() -> None:
    dice = random.Random(3)
    texts = ["".join(dice.choices("基金股票风险收益", k=12)) for _ in range(40)]
    texts += [text[:-2] + "？" for text in texts]
    dice.shuffle(texts)
    seen, kept = Seen(), list[frozenset[str]]()
    for text in texts:
        is_new = all(likeness(shingles(text), other) < ALIKE for other in kept)
        assert seen.is_new(text) is is_new
        kept += [shingles(text)] if is_new else []
    assert 40 <= len(kept) < 80


def test_case_width_and_punctuation_do_not_count() -> None:
    seen = Seen()
    assert seen.is_new("什么是 ETF？")
    assert not seen.is_new("什么是ｅｔｆ")
    assert not seen.is_new("？！")


def test_figures_of_variety() -> None:
    assert nearest_likeness(["基金怎么选择", "基金怎么选择", "天气如何"]) == 2 / 3
    assert distinct_2(["abc abc abc"]) == 1 / 2
    assert distinct_2(["一二一二"]) == 2 / 3
    assert distinct_2([]) is None
