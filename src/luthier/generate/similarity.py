"""The similarity of texts by character n-grams, which also works for languages without spaces between words.

The set operations are exact, which suits the hundreds of questions of a run but not files of millions.
"""

import gzip
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from luthier.data.check.quality.similarity import jaccard, trigrams

NEAR_DUPLICATE_THRESHOLD = 0.7  # Jaccard similarity from which Self-Instruct (arXiv 2212.10560) drops a question
_MAX_SAMPLE = 400


class NearDuplicateFilter:
    """Collects texts and rejects near duplicates of those it has."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._texts_by_trigram: dict[str, list[int]] = defaultdict(list)  # trigram → indices of texts that have it

    def add(self, text: str) -> bool:
        """Adds a text and returns True; returns False for a near duplicate, or a text without letters and digits."""
        text_trigrams = trigrams(text)
        shared = Counter(index for trigram in text_trigrams for index in self._texts_by_trigram.get(trigram, ()))
        unions = {index: len(text_trigrams) + self._sizes[index] - common for index, common in shared.items()}
        if not text_trigrams or any(
            shared[index] >= NEAR_DUPLICATE_THRESHOLD * union for index, union in unions.items()
        ):
            return False
        for trigram in text_trigrams:
            self._texts_by_trigram[trigram].append(len(self._sizes))
        self._sizes.append(len(text_trigrams))
        return True


def distinct_2(texts: Sequence[str]) -> float | None:
    """The share of distinct bigrams among all bigrams, of characters in Chinese texts, else of words."""
    pairs = [pair for text in texts for pair in _pairs(text)]
    return len(set(pairs)) / len(pairs) if pairs else None


def _pairs(text: str) -> list[tuple[str, str]]:
    is_chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
    units = [c for c in text if not c.isspace()] if is_chinese else text.lower().split()
    return list(pairwise(units))


def mean_nearest_similarity(texts: Sequence[str], seed: int = 0) -> float | None:
    """The mean similarity of a text to its nearest neighbour: 0 if all differ, 1 if each has a copy.

    At most 400 texts are compared; of more, a sample drawn with `seed`.
    """
    sample = list(texts)
    if len(texts) > _MAX_SAMPLE:
        sample = random.Random(seed).sample(sample, _MAX_SAMPLE)  # noqa: S311 - not a secret
    if len(sample) < 2:
        return None
    sets = [trigrams(text) for text in sample]
    nearest = [0.0] * len(sets)
    for index, own in enumerate(sets):
        for other in range(index):
            similarity = jaccard(own, sets[other])
            nearest[index], nearest[other] = max(nearest[index], similarity), max(nearest[other], similarity)
    return sum(nearest) / len(nearest)


def gzip_ratio(texts: Sequence[str]) -> float | None:
    """Compressed size divided by size: the smaller, the more repetition. Larger sets compress better."""
    raw = "\n".join(texts).encode()
    return len(gzip.compress(raw, mtime=0)) / len(raw) if raw else None
