"""Log-probabilities and vectors from a model's outputs, in NumPy: rows of the vocabulary's size stay in CPU caches."""

from collections.abc import Sequence

import numpy as np

from luthier.inference.engine import Token


def log_sum_exp(logits: np.ndarray) -> np.float32:
    """logits float32 [V]. NumPy, since PyTorch wakes all of its threads for it."""
    peak = logits.max()
    total: np.float32 = peak + np.log(np.exp(logits - peak).sum())
    return total


def top_tokens(logits: np.ndarray, normalizer: np.float32, count: int) -> tuple[tuple[int, float], ...]:
    """The `count` most likely tokens with their log-probabilities, most likely first."""
    if not count:
        return ()
    ids = np.array([logits.argmax()]) if count == 1 else np.argpartition(logits, -count)[-count:]
    ids = ids[np.lexsort((ids, -logits[ids]))]
    return tuple(zip(ids.tolist(), (logits[ids] - normalizer).tolist(), strict=True))


def token_logprobs(logits: np.ndarray, targets: Sequence[int], top: int) -> list[Token]:
    """logits float32 [T, V] and the T tokens that follow; `top` likeliest tokens come with each."""
    tokens = []
    for row, target in zip(logits, targets, strict=True):
        normalizer = log_sum_exp(row)
        tokens.append(Token(target, float(row[target] - normalizer), top_tokens(row, normalizer, top)))
    return tokens


def unit_vector(vector: np.ndarray) -> list[float]:
    """float [D] scaled to length 1."""
    values: list[float] = (vector / max(float(np.linalg.norm(vector)), 1e-12)).tolist()
    return values
