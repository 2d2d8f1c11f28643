"""Scores of text answers, right for Chinese as for English. Knows nothing about models or files.

chrF compares runs of characters and needs no words. ROUGE-L needs tokens: each Chinese, Japanese or Korean character
is one, and so is each word of other scripts (the usual ASCII tokenizer scores identical Chinese texts 0).
"""

import re
import unicodedata
from collections import Counter

from rapidfuzz.distance import LCSseq

_CJK = "\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
_TOKEN = re.compile(f"[{_CJK}]|(?:(?![{_CJK}])[^\\W_])+")
_NGRAMS, _BETA = 6, 2  # chrF2 with runs of up to six characters, as published (Popović 2015)
_REPEATED_RUN = 4


def plain(text: str) -> str:
    """For comparing: full-width forms made half-width, white space to single blanks, case and a final stop dropped."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold().rstrip(".。!！")


def exact_match(reference: str, answer: str) -> bool:
    return plain(reference) == plain(answer)


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def chrf(reference: str, answer: str) -> float:
    """chrF2 of one answer, 0 to 1, over characters without white space."""
    one, other = "".join(reference.split()), "".join(answer.split())
    scores = []
    for size in range(1, _NGRAMS + 1):
        wanted, said = _runs(one, size), _runs(other, size)
        if wanted and said:
            hits = (wanted & said).total()
            scores.append((hits / said.total(), hits / wanted.total()))
    if not scores:
        return float(one == other)
    precision, recall = (sum(values) / len(scores) for values in zip(*scores, strict=True))
    return _f(precision, recall, _BETA)


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence of tokens, 0 to 1."""
    wanted, said = tokens(reference), tokens(answer)
    if not wanted or not said:
        return float(wanted == said)
    common = LCSseq.similarity(wanted, said)
    return _f(common / len(said), common / len(wanted), 1)


def repetition(answer: str) -> float:
    """The share of runs of four tokens that occurred before in the same answer: near 1 where a model is stuck."""
    said = tokens(answer)
    runs = [tuple(said[i : i + _REPEATED_RUN]) for i in range(len(said) - _REPEATED_RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def macro_f1(wanted: list[str], said: list[str]) -> float:
    """The mean of each label's F1 over the labels that are wanted somewhere."""
    scores = []
    for label in set(wanted):
        hits = sum(one == other == label for one, other in zip(wanted, said, strict=True))
        scores.append(2 * hits / (wanted.count(label) + said.count(label)))
    return sum(scores) / len(scores)


def are_labels(references: list[str]) -> bool:
    """Whether the answers are labels: short, and each of them several times."""
    counts = Counter(map(plain, references))
    short = all(len(tokens(label)) <= 8 for label in counts)
    return short and len(references) >= 10 and len(counts) >= 2 and len(references) >= 3 * len(counts)


def _runs(text: str, size: int) -> Counter[str]:
    return Counter(text[i : i + size] for i in range(len(text) - size + 1))


def _f(precision: float, recall: float, beta: int) -> float:
    if not precision + recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
