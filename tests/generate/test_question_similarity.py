"""Likeness of texts: the quick search finds what comparing all with all finds."""

import random

from luthier.data.check.quality.similarity import jaccard, trigrams
from luthier.generate.similarity import (
    NEAR_DUPLICATE_THRESHOLD,
    NearDuplicateFilter,
    distinct_2,
    mean_nearest_similarity,
)


def test_the_search_agrees_with_comparing_all() -> None:
    dice = random.Random(3)
    texts = ["".join(dice.choices("基金股票风险收益", k=12)) for _ in range(40)]
    texts += [text[:-2] + "？" for text in texts]
    dice.shuffle(texts)
    duplicates, accepted = NearDuplicateFilter(), list[frozenset[str]]()
    for text in texts:
        is_new = all(jaccard(trigrams(text), other) < NEAR_DUPLICATE_THRESHOLD for other in accepted)
        assert duplicates.add(text) is is_new
        accepted += [trigrams(text)] if is_new else []
    assert 40 <= len(accepted) < 80


def test_case_width_and_punctuation_do_not_count() -> None:
    duplicates = NearDuplicateFilter()
    assert duplicates.add("什么是 ETF？")
    assert not duplicates.add("什么是ｅｔｆ")
    assert not duplicates.add("？！")


def test_figures_of_variety() -> None:
    assert mean_nearest_similarity(["基金怎么选择", "基金怎么选择", "天气如何"]) == 2 / 3
    assert distinct_2(["abc abc abc"]) == 1 / 2
    assert distinct_2(["一二一二"]) == 2 / 3
    assert distinct_2([]) is None
