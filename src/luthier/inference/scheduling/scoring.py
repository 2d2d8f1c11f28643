"""What a model says of a text that is already there: its embedding, and how likely it finds each token.

Each function is a generator that yields between two forward passes, so that the engine can give answers under way
their turn, and returns its result. Knows nothing about adapters, queues or text.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch

from luthier.inference.engine import Token

_PASS_TOKENS = 2048  # of a padded batch: what one forward pass may hold
_SCORED_TOKENS = 256  # logits of so many positions are in memory at once


def embeddings(
    ready: Callable[[], Any], prompts: Sequence[list[int]], device: torch.device
) -> Generator[None, None, list[list[float]]]:
    """For each prompt float [D] of length 1: the mean of the last hidden states over its tokens.

    `ready`: the causal model as it is to be used now. Prompts of like length share a pass; padding stands at the end,
    where causal attention lets no real token see it.
    """
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    made: dict[int, list[float]] = {}
    while order:
        width = len(prompts[order[-1]])  # the longest that is left sets the width, and so how many go together
        batch = [order.pop() for _ in range(min(len(order), max(1, _PASS_TOKENS // width)))]
        ids = torch.zeros((len(batch), width), dtype=torch.long, device=device)
        for row, at in enumerate(batch):
            ids[row, : len(prompts[at])] = torch.tensor(prompts[at])
        with torch.inference_mode():
            hidden = _body(ready())(input_ids=ids, use_cache=False).last_hidden_state  # [B, T, D]
            for row, at in enumerate(batch):
                made[at] = unit(hidden[row, : len(prompts[at])].float().mean(0))
        yield
    return [made[at] for at in range(len(prompts))]


def unit(vector: torch.Tensor) -> list[float]:
    """float [D] of length 1."""
    values: list[float] = torch.nn.functional.normalize(vector, dim=-1).tolist()
    return values


def scores(
    ready: Callable[[], Any], prompt: list[int], top: int, start: int, device: torch.device, cache: Any
) -> Generator[None, None, list[Token]]:
    """The tokens of `prompt` from place `start` on, each with its log-probability after what stands before it.

    `cache`: empty, of transformers; `top`: how many of the likeliest come with each.
    """
    made: list[Token] = []
    for begin in range(0, len(prompt) - 1, _SCORED_TOKENS):
        end = min(begin + _SCORED_TOKENS, len(prompt) - 1)
        ids = torch.tensor([prompt[begin:end]], device=device)
        asked = max(0, min(end - begin, end + 1 - start))
        with torch.inference_mode():
            logits = ready()(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=max(asked, 1)).logits
            made += told(logits[0], prompt[end + 1 - asked : end + 1], top)
        yield
    return made


def told(logits: torch.Tensor, tokens: Sequence[int], top: int) -> list[Token]:
    """What the last of logits [T, V] say of so many tokens that come after them."""
    if not tokens:
        return []
    logits = logits[-len(tokens) :].float()
    whole = logits.logsumexp(-1)
    values, likeliest = logits.topk(top, dim=-1)
    chosen = logits.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0] - whole
    best = (values - whole[:, None]).tolist(), likeliest.tolist()
    return [
        Token(token, logprob, tuple(zip(ids, logprobs, strict=True)))
        for token, logprob, logprobs, ids in zip(tokens, chosen.tolist(), *best, strict=True)
    ]


def _body(model: Any) -> Any:
    """The model without its output layer; adapters sit inside it."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.base_model
