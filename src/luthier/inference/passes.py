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
    ready: Callable[[], Any], prompt: list[int], top: int, device: torch.device, cache: Any
) -> Generator[None, None, list[Token]]:
    """The tokens of `prompt` after the first, each with its log-probability after what stands before it.

    `cache`: empty, of transformers; `top`: how many of the likeliest come with each.
    """
    made: list[Token] = []
    for begin in range(0, len(prompt) - 1, _SCORED_TOKENS):
        ids = prompt[begin : min(begin + _SCORED_TOKENS, len(prompt) - 1)]
        with torch.inference_mode():
            logits = ready()(
                input_ids=torch.tensor([ids], device=device), past_key_values=cache, use_cache=True
            ).logits[0]
            logprobs = logits.float().log_softmax(-1).cpu()  # [T, V]
        values, likeliest = logprobs.topk(top, dim=-1)
        for at, token in enumerate(prompt[begin + 1 : begin + 1 + len(ids)]):
            best = tuple(zip(likeliest[at].tolist(), values[at].tolist(), strict=True))
            made.append(Token(token, float(logprobs[at, token]), best))
        yield
    return made


def _body(model: Any) -> Any:
    """The model without its output layer; adapters sit inside it."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.base_model
