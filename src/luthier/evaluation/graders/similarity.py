"""Text similarity metrics, 0 to 1. Each Chinese, Japanese or Korean character is a token, so the metrics are valid for
these languages, too.

BLEU is sacreBLEU's sentence BLEU (n-grams up to four, exponential smoothing, effective order; Papineni et al. 2002,
Post 2018). GLEU is Google's (Wu et al. 2016). METEOR is that of 2007 (Lavie and Agarwal) with exact matches only: stems
and synonyms exist for few languages. ROUGE-N is the F1 of n-grams (Lin 2004).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from luthier.evaluation.graders.failures import other_failure
from luthier.evaluation.text_metrics import tokenize
from luthier.types.graders import Metric

MAX_CHARACTERS = 60_000  # some metrics take time in proportion to the product of both lengths
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD_OR_SIGN = re.compile(f"[{_CJK}]|(?:(?![{_CJK}])\\w)+|[^\\w\\s]")
_MAX_ORDER = 4
_Tokens = Sequence[str]


def similarity(metric: Metric, text: str, reference: str) -> float:
    """Any metric except `cosine`, which needs embeddings. Raises GraderFailure for texts that are too long."""
    if max(len(text), len(reference)) > MAX_CHARACTERS:
        raise other_failure(f"the texts to compare are too long: at most {MAX_CHARACTERS:,} characters each")
    if metric == "fuzzy_match":
        return fuzz.ratio(text, reference) / 100
    if metric in _PUNCTUATION_METRICS:
        return _PUNCTUATION_METRICS[metric](_WORD_OR_SIGN.findall(text), _WORD_OR_SIGN.findall(reference))
    candidate_tokens, reference_tokens = tokenize(text), tokenize(reference)
    if metric == "meteor":
        return meteor(candidate_tokens, reference_tokens)
    if metric == "rouge_l":
        return _f1(LCSseq.similarity(candidate_tokens, reference_tokens), len(candidate_tokens), len(reference_tokens))
    return rouge_n(candidate_tokens, reference_tokens, int(metric.removeprefix("rouge_")))


def bleu(candidate: _Tokens, reference: _Tokens) -> float:
    logs, smoothing = [], 1.0
    for order in range(1, min(_MAX_ORDER, len(candidate)) + 1):
        ngrams = _ngrams(candidate, order)
        common = (ngrams & _ngrams(reference, order)).total()
        if not common:
            if order == 1:
                return 0.0
            smoothing *= 2
        logs.append(math.log((common or 1 / smoothing) / ngrams.total()))
    if not logs:
        return float(not reference)
    brevity = min(0.0, 1 - len(reference) / len(candidate))
    return math.exp(brevity + sum(logs) / len(logs))


def gleu(candidate: _Tokens, reference: _Tokens) -> float:
    common = candidate_total = reference_total = 0
    for order in range(1, _MAX_ORDER + 1):
        ngrams, reference_ngrams = _ngrams(candidate, order), _ngrams(reference, order)
        common += (ngrams & reference_ngrams).total()
        candidate_total += ngrams.total()
        reference_total += reference_ngrams.total()
    return common / max(candidate_total, reference_total) if candidate_total or reference_total else 1.0


def meteor(candidate: _Tokens, reference: _Tokens) -> float:
    """METEOR: alpha 0.9, beta 3, gamma 0.5. Tokens are aligned from the end, each with the last unaligned match."""
    unaligned: dict[str, list[int]] = {}
    for index, token in enumerate(reference):
        unaligned.setdefault(token, []).append(index)
    pairs = [
        (i, unaligned[candidate[i]].pop()) for i in reversed(range(len(candidate))) if unaligned.get(candidate[i])
    ][::-1]
    if not pairs:
        return float(not candidate and not reference)
    chunks = 1 + sum(after != (before[0] + 1, before[1] + 1) for before, after in pairwise(pairs))
    precision, recall = len(pairs) / len(candidate), len(pairs) / len(reference)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def rouge_n(candidate: _Tokens, reference: _Tokens, order: int) -> float:
    ngrams, reference_ngrams = _ngrams(candidate, order), _ngrams(reference, order)
    return _f1((ngrams & reference_ngrams).total(), ngrams.total(), reference_ngrams.total())


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    lengths = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0


def _ngrams(tokens: _Tokens, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _f1(common: int, candidate_total: int, reference_total: int) -> float:
    return 2 * common / (candidate_total + reference_total) if candidate_total + reference_total else 1.0


_PUNCTUATION_METRICS: dict[str, Callable[[_Tokens, _Tokens], float]] = {"bleu": bleu, "gleu": gleu}
