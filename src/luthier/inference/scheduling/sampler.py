"""Sampling: from the logits of one position to a token. NumPy only."""

import math
from collections import Counter
from pathlib import Path

import numpy as np

from luthier.inference.engine import SamplingParams, Token
from luthier.inference.logprobs import log_sum_exp, top_tokens
from luthier.inference.scheduling.structured_output import GrammarMatcher

_GREEDY_BELOW = 1e-5  # temperature


class TokenSampler:
    """Sampling state of one generation: token counts, random generator, grammar.

    `closed_early`: whether the output was completed early because tokens were running out.
    """

    def __init__(self, params: SamplingParams, base: Path) -> None:
        """`base`: the model folder, whose tokenizer a grammar needs."""
        self._params, self._base = params, base
        self._counts: Counter[int] = Counter()
        self._matcher: GrammarMatcher | None = None
        self._tokens_left = params.max_tokens
        self.closed_early = False
        self._random = np.random.default_rng(None if params.seed is None else params.seed % 2**63)

    def sample(self, logits: np.ndarray) -> Token:
        """Sample the next token from logits float32 [V]. Raises BadRequestError for a grammar that cannot be
        satisfied."""
        params = self._params
        if params.grammar and self._matcher is None:
            self._matcher = GrammarMatcher(params.grammar, self._base, params.stop_ids)
        allowed = self._allowed(self._matcher, logits) if self._matcher else None
        self._tokens_left -= 1
        token = sample_token(logits, params, self._counts, self._random, allowed)
        if self._matcher:
            self._matcher.consume(token.id)
        if token.id not in params.stop_ids:
            self._counts[token.id] += 1
        return token

    def _allowed(self, matcher: GrammarMatcher, logits: np.ndarray) -> np.ndarray:
        allowed = matcher.allowed()
        if self._tokens_left > self._params.closing_tokens:
            return allowed
        closing = matcher.closing(allowed)
        size = min(len(allowed), len(logits))
        likeliest = int(np.where(allowed[:size], logits[:size], -math.inf).argmax())
        self.closed_early = self.closed_early or not closing[likeliest]
        return closing


def sample_token(
    logits: np.ndarray,
    params: SamplingParams,
    counts: dict[int, int],
    random: np.random.Generator,
    allowed: np.ndarray | None = None,
) -> Token:
    """logits float32 [V]; `counts`: generated tokens, for the penalties; `random`: for temperatures above 0.

    `allowed` bool [at most V] masks the choice; log-probabilities stay those of the unmasked model.
    """
    scores = _penalized(logits, params, counts)
    if allowed is not None:
        size = min(len(allowed), len(scores))
        masked = np.full_like(scores, -math.inf)
        np.copyto(masked[:size], scores[:size], where=allowed[:size])
        scores = masked
    if params.temperature < _GREEDY_BELOW:
        token = int(scores.argmax())
    else:
        token = _draw(_nucleus(_softmax(scores / np.float32(params.temperature)), params.top_p), random)
    normalizer = log_sum_exp(logits)
    return Token(token, float(logits[token] - normalizer), top_tokens(logits, normalizer, params.top_logprobs))


def _penalized(logits: np.ndarray, params: SamplingParams, counts: dict[int, int]) -> np.ndarray:
    """Bias and penalties as OpenAI defines them: mu[j] - c[j] * frequency - (c[j] > 0) * presence."""
    if not (params.logit_bias or (counts and (params.frequency_penalty or params.presence_penalty))):
        return logits
    scores = logits.copy()
    for token, bias in params.logit_bias.items():
        if 0 <= token < len(scores):
            scores[token] += bias
    for token, count in counts.items():
        scores[token] -= count * params.frequency_penalty + params.presence_penalty
    return scores


def _softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    probabilities: np.ndarray = exponentials / exponentials.sum()
    return probabilities


def _nucleus(probabilities: np.ndarray, top_p: float) -> np.ndarray:
    """Set all but the most likely tokens that together reach `top_p` to zero; the first always stays."""
    if top_p >= 1:
        return probabilities
    order = np.argsort(-probabilities)
    ordered = probabilities[order]
    dropped = order[ordered.cumsum(dtype=np.float64) - ordered > top_p]
    probabilities[dropped] = 0
    return probabilities


def _draw(probabilities: np.ndarray, random: np.random.Generator) -> int:
    """One token, by inverse transform sampling; the probabilities need not sum to 1."""
    cumulative = probabilities.cumsum(dtype=np.float64)
    token = int(cumulative.searchsorted(random.random() * cumulative[-1], side="right"))
    return min(token, int(probabilities.nonzero()[0][-1])) if token == len(probabilities) else token
