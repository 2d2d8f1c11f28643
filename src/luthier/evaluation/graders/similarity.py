"""Text similarity, 0 to 1. Chinese, Japanese and Korean characters are tokens of their own, so all hold for them.

BLEU is sacreBLEU's for sentences (n-grams up to four, exponential smoothing, effective order; Papineni et al. 2002,
Post 2018). GLEU is Google's (Wu et al. 2016). METEOR is that of 2007 (Lavie and Agarwal) with exact matches only: no
stems and no synonyms, which exist for few languages. ROUGE-N is the F1 of n-grams (Lin 2004).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from luthier.evaluation.text_metrics import tokens
from luthier.types.graders import Metric

_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WITH_SIGNS = re.compile(f"[{_CJK}]|(?:(?![{_CJK}])\\w)+|[^\\w\\s]")
_NGRAMS = 4
_Tokens = Sequence[str]


def similarity(metric: Metric, text: str, reference: str) -> float:
    """Every metric but `cosine`, which needs a model."""
    if metric == "fuzzy_match":
        return fuzz.ratio(text, reference) / 100
    if metric in _OF_ALL_TOKENS:
        return _OF_ALL_TOKENS[metric](_WITH_SIGNS.findall(text), _WITH_SIGNS.findall(reference))
    said, wanted = tokens(text), tokens(reference)
    if metric == "meteor":
        return meteor(said, wanted)
    if metric == "rouge_l":
        return _f1(LCSseq.similarity(said, wanted), len(said), len(wanted))
    return rouge_n(said, wanted, int(metric.removeprefix("rouge_")))


def bleu(said: _Tokens, wanted: _Tokens) -> float:
    logs, smoothing = [], 1.0
    for size in range(1, min(_NGRAMS, len(said)) + 1):
        made = _ngrams(said, size)
        hits = (made & _ngrams(wanted, size)).total()
        if not hits:
            if size == 1:
                return 0.0
            smoothing *= 2
        logs.append(math.log((hits or 1 / smoothing) / made.total()))
    if not logs:
        return float(not wanted)
    brevity = min(0.0, 1 - len(wanted) / len(said))
    return math.exp(brevity + sum(logs) / len(logs))


def gleu(said: _Tokens, wanted: _Tokens) -> float:
    hits = made = needed = 0
    for size in range(1, _NGRAMS + 1):
        one, other = _ngrams(said, size), _ngrams(wanted, size)
        hits += (one & other).total()
        made += one.total()
        needed += other.total()
    return hits / max(made, needed) if made or needed else 1.0


def meteor(said: _Tokens, wanted: _Tokens) -> float:
    """alpha 0.9, beta 3, gamma 0.5; tokens are matched from the end, each with the last that is free."""
    free: dict[str, list[int]] = {}
    for place, token in enumerate(wanted):
        free.setdefault(token, []).append(place)
    pairs = [(at, free[said[at]].pop()) for at in reversed(range(len(said))) if free.get(said[at])][::-1]
    if not pairs:
        return float(not said and not wanted)
    chunks = 1 + sum(after != (before[0] + 1, before[1] + 1) for before, after in pairwise(pairs))
    precision, recall = len(pairs) / len(said), len(pairs) / len(wanted)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def rouge_n(said: _Tokens, wanted: _Tokens, size: int) -> float:
    one, other = _ngrams(said, size), _ngrams(wanted, size)
    return _f1((one & other).total(), one.total(), other.total())


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def _ngrams(of: _Tokens, size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(of[at : at + size]) for at in range(len(of) - size + 1))


def _f1(hits: int, made: int, needed: int) -> float:
    return 2 * hits / (made + needed) if made + needed else 1.0


_OF_ALL_TOKENS: dict[str, Callable[[_Tokens, _Tokens], float]] = {"bleu": bleu, "gleu": gleu}
