"""How alike texts are, by their characters; works for languages without spaces between words.

Plain sets, exact: for the hundreds of questions that one run holds, and not for files of millions.
"""

import gzip
import random
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

ALIKE = 0.7  # Self-Instruct (arXiv 2212.10560) drops a question from this likeness to an earlier one on
_SAMPLE = 400


def shingles(text: str) -> frozenset[str]:
    """The runs of three characters, without case, width, white space and punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())
    return frozenset(plain[at : at + 3] for at in range(max(1, len(plain) - 2))) if plain else frozenset()


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard: shared runs by all runs, 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 1.0


class Seen:
    """Texts so far; tells of a new one whether it is (nearly) there already."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._holders: dict[str, list[int]] = defaultdict(list)  # by run, the texts that have it

    def is_new(self, text: str) -> bool:
        """Remembers a new text. One without letters and digits is none."""
        runs = shingles(text)
        shared = Counter(at for run in runs for at in self._holders.get(run, ()))
        if not runs or any(n >= ALIKE * (len(runs) + self._sizes[at] - n) for at, n in shared.items()):
            return False
        for run in runs:
            self._holders[run].append(len(self._sizes))
        self._sizes.append(len(runs))
        return True


def distinct_2(texts: Sequence[str]) -> float | None:
    """Different pairs of neighbours by all pairs: of characters where there are Chinese ones, else of words."""
    pairs = [pair for text in texts for pair in _pairs(text)]
    return len(set(pairs)) / len(pairs) if pairs else None


def _pairs(text: str) -> list[tuple[str, str]]:
    is_chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
    units = [c for c in text if not c.isspace()] if is_chinese else text.lower().split()
    return list(pairwise(units))


def nearest_likeness(texts: Sequence[str], seed: int = 0) -> float | None:
    """The mean likeness of a text to the one most like it: 0, all differ; 1, each has a twin. Of a sample of 400."""
    chosen = list(texts) if len(texts) <= _SAMPLE else random.Random(seed).sample(list(texts), _SAMPLE)  # noqa: S311
    if len(chosen) < 2:
        return None
    runs = [shingles(text) for text in chosen]
    nearest = [0.0] * len(runs)
    for at, one in enumerate(runs):
        for other in range(at):
            alike = likeness(one, runs[other])
            nearest[at], nearest[other] = max(nearest[at], alike), max(nearest[other], alike)
    return sum(nearest) / len(nearest)


def gzip_ratio(texts: Sequence[str]) -> float | None:
    """Compressed by plain bytes: the smaller, the more the texts repeat one another. Longer sets compress better."""
    raw = "\n".join(texts).encode()
    return len(gzip.compress(raw, mtime=0)) / len(raw) if raw else None
