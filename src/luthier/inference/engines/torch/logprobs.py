"""Log-probabilities of tokens, computed on the device of the logits."""

from collections.abc import Sequence

import torch

from luthier.inference.engine import Token


def token_logprobs(logits: torch.Tensor, targets: Sequence[int], top: int) -> list[Token]:
    """logits [T, V] and the T tokens that follow; each result includes the `top` most likely tokens."""
    if not targets:
        return []
    logits = logits.float()
    normalizers = logits.logsumexp(-1, keepdim=True)
    values, ids = logits.topk(top, dim=-1)
    logprobs = (logits.gather(-1, torch.tensor(targets, device=logits.device)[:, None]) - normalizers)[:, 0]
    tops = (values - normalizers).tolist(), ids.tolist()
    return [
        Token(token, logprob, tuple(zip(top_ids, top_values, strict=True)))
        for token, logprob, top_values, top_ids in zip(targets, logprobs.tolist(), *tops, strict=True)
    ]
