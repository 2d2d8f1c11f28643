"""Tests on a model whether examples of a packed row change each other's log-probabilities."""

from typing import Any

import numpy as np
import torch

from luthier.training.dataset import TokenSequence
from luthier.training.logprobs import log_probabilities, pack

_PREFIX_TOKENS, _ANSWER_TOKENS = 40, 8
# Nats; the rounding of experts depends on the number of tokens that share them
_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05}


@torch.no_grad()
def leaks(model: Any, vocabulary: int) -> bool:
    """Whether an example's log-probabilities depend on its neighbour, in rows with and without a shared prefix.

    `model`: as `luthier.training.model.load_model` returns it.
    """
    device = model.get_input_embeddings().weight.device
    limit = _ROUNDING.get(model.dtype, 0.05)
    for shared in (True, False):
        before, after = (
            log_probabilities(model, pack(_examples(vocabulary, neighbour), device, share_prefixes=shared))[0]
            for neighbour in (1, 2)
        )
        first = slice(_ANSWER_TOKENS, None)  # of the second example, which comes later in the row
        if float((before[first] - after[first]).abs().max()) > limit:
            return True
    return False


def _examples(vocabulary: int, neighbour: int) -> list[TokenSequence]:
    """The neighbour, one of two, and the example; packed in this order, since rows are sorted by token ids."""
    prefix = np.arange(_PREFIX_TOKENS)
    answers = [np.arange(_ANSWER_TOKENS) * (7 + neighbour) + neighbour, vocabulary - 1 - np.arange(_ANSWER_TOKENS)]
    weights = np.repeat(np.array([0, 1], np.float32), [_PREFIX_TOKENS, _ANSWER_TOKENS])
    return [TokenSequence(np.concatenate([prefix, answer]) % vocabulary, weights) for answer in answers]
