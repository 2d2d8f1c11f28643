"""Metrics of text answers that are valid for Chinese as well as English.

chrF compares character n-grams and needs no tokenizer. ROUGE-L needs tokens: each Chinese, Japanese or Korean
character is one, and so is each word of other scripts. (The usual ASCII tokenizer scores identical Chinese texts 0.)
"""

import re
import unicodedata
from collections import Counter

from rapidfuzz.distance import LCSseq

_CJK = "\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af"
_TOKEN = re.compile(f"[{_CJK}]|(?:(?![{_CJK}])[^\\W_])+")
_CHRF_ORDER, _CHRF_BETA = 6, 2  # chrF2 with n-grams of up to six characters, as published (Popović 2015)
_REPETITION_ORDER = 4
_MAX_LABEL_TOKENS, _MIN_LABELED_CASES, _MIN_CASES_PER_LABEL = 8, 10, 3


def normalize(text: str) -> str:
    """The text for comparison: NFKC, white space collapsed to single spaces, no case, no final full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold().rstrip(".。!！")


def exact_match(reference: str, answer: str) -> bool:
    return normalize(reference) == normalize(answer)


def tokenize(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def chrf(reference: str, answer: str) -> float:
    """chrF2 of one answer, 0 to 1, over characters without white space."""
    reference, answer = "".join(reference.split()), "".join(answer.split())
    scores = []
    for order in range(1, _CHRF_ORDER + 1):
        expected, predicted = _character_ngrams(reference, order), _character_ngrams(answer, order)
        if expected and predicted:
            common = (expected & predicted).total()
            scores.append((common / predicted.total(), common / expected.total()))
    if not scores:
        return float(reference == answer)
    precision, recall = (sum(values) / len(scores) for values in zip(*scores, strict=True))
    return _f_score(precision, recall, _CHRF_BETA)


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence of tokens, 0 to 1."""
    expected, predicted = tokenize(reference), tokenize(answer)
    if not expected or not predicted:
        return float(expected == predicted)
    common = LCSseq.similarity(expected, predicted)
    return _f_score(common / len(predicted), common / len(expected), 1)


def repetition(answer: str) -> float:
    """The share of token 4-grams that occurred earlier in the same answer; close to 1 for a model in a loop."""
    tokens = tokenize(answer)
    ngrams = [tuple(tokens[i : i + _REPETITION_ORDER]) for i in range(len(tokens) - _REPETITION_ORDER + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def macro_f1(expected: list[str], predicted: list[str]) -> float:
    """The mean F1 over the labels that occur in `expected`."""
    scores = []
    for label in dict.fromkeys(expected):  # in order, so that the sum is bit-exact
        hits = sum(left == right == label for left, right in zip(expected, predicted, strict=True))
        scores.append(2 * hits / (expected.count(label) + predicted.count(label)))
    return sum(scores) / len(scores)


def are_labels(references: list[str]) -> bool:
    """Whether the references are labels: short texts that are repeated, on average, at least three times."""
    counts = Counter(map(normalize, references))
    short = all(len(tokenize(label)) <= _MAX_LABEL_TOKENS for label in counts)
    enough = len(references) >= max(_MIN_LABELED_CASES, _MIN_CASES_PER_LABEL * len(counts))
    return short and enough and len(counts) >= 2


def _character_ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[i : i + order] for i in range(len(text) - order + 1))


def _f_score(precision: float, recall: float, beta: int) -> float:
    if not precision + recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
