"""From the logits of one position to a token. Pure functions of their arguments and a generator."""

import math

import numpy as np
import torch

from luthier.inference.engine import Sampling, Token


def choose(
    logits: torch.Tensor,
    sampling: Sampling,
    counts: dict[int, int],
    generator: torch.Generator | None,
    allowed: np.ndarray | None = None,
) -> Token:
    """logits float [V]; `counts`: how often each token was generated so far, for the penalties.

    `allowed` bool [at most V]: the tokens that may be chosen; log-probabilities stay those of the model.
    """
    logits = logits.float().cpu()
    scores = _adjusted(logits, sampling, counts)
    if allowed is not None:
        size = min(len(allowed), len(scores))
        barred = torch.full_like(scores, -math.inf)
        scores = barred.index_put((torch.from_numpy(allowed[:size].nonzero()[0]),), scores[:size][allowed[:size]])
    if sampling.temperature < 1e-5:
        chosen = int(scores.numpy().argmax())
    else:
        shares = _nucleus((scores / sampling.temperature).softmax(-1), sampling.top_p)
        chosen = int(torch.multinomial(shares, 1, generator=generator))
    whole = _log_sum(logits.numpy())
    top: tuple[tuple[int, float], ...] = ()
    if sampling.top_logprobs:
        values, ids = (logits - whole).topk(sampling.top_logprobs)
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return Token(chosen, float(logits[chosen]) - whole, top)


def _log_sum(logits: np.ndarray) -> float:
    """Of the exponentials. With numpy, since PyTorch wakes all its threads for it."""
    most = logits.max()
    return float(most + np.log(np.exp(logits - most).sum()))


def _adjusted(logits: torch.Tensor, sampling: Sampling, counts: dict[int, int]) -> torch.Tensor:
    """Bias and penalties as OpenAI defines them: mu[j] - c[j] * frequency - (c[j] > 0) * presence."""
    if not (sampling.logit_bias or (counts and (sampling.frequency_penalty or sampling.presence_penalty))):
        return logits
    logits = logits.clone()
    for token, bias in sampling.logit_bias.items():
        if 0 <= token < len(logits):
            logits[token] += bias
    for token, count in counts.items():
        logits[token] -= count * sampling.frequency_penalty + sampling.presence_penalty
    return logits


def _nucleus(shares: torch.Tensor, top_p: float) -> torch.Tensor:
    """The likeliest tokens that together hold `top_p` of the probability; the first always stays."""
    if top_p >= 1:
        return shares
    ordered, ids = shares.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0
    return torch.zeros_like(shares).scatter(0, ids, ordered)
