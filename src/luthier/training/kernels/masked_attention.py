"""Attention over packed rows with windows that are shorter than examples, and with soft caps, in PyTorch.

A row is computed in blocks of queries, each with the keys that one of them attends to. Shapes are those of
`attention.py`; scores with a soft cap, and their gradients, are float32.
"""

import torch

from luthier.training.kernels.attention_parts import attend_part, attend_part_backward, by_kv_head
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.packing.packed_layout import Layout


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, rule: ScoreRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [T, H, K], k and v [T, G, K] -> (out [T, H, K], logsumexp of the scores float32 [T, H])."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    logsumexp = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for rows, keys, hidden in layout.blocks(rule.window):
        tensors = q[None, rows], k[None, keys], v[None, keys]
        if rule.softcap is None:
            block, block_logsumexp = attend_part(*tensors, scale=rule.scale, hidden=hidden)
        else:
            block, block_logsumexp = _capped(*tensors, scale=rule.scale, softcap=rule.softcap, hidden=hidden)
        out[rows], logsumexp[rows] = block[0], block_logsumexp[0]
    return out, logsumexp


def backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    layout: Layout,
    rule: ScoreRule,
) -> torch.Tensor:
    """The gradients of q, k and v side by side [T, H + 2 G, K], given that of `out`; the rest as in `forward`."""
    delta = (grad.float() * out).sum(-1)
    dq, dk, dv = (torch.zeros(tensor.shape, dtype=torch.float32, device=q.device) for tensor in (q, k, v))
    for rows, keys, hidden in layout.blocks(rule.window):
        tensors = [t[None] for t in (logsumexp[rows], delta[rows], q[rows], k[keys], v[keys], grad[rows])]
        if rule.softcap is None:
            block_dq, block_dk, block_dv = attend_part_backward(*tensors, scale=rule.scale, hidden=hidden)
        else:
            block_dq, block_dk, block_dv = _capped_backward(
                *tensors, scale=rule.scale, softcap=rule.softcap, hidden=hidden
            )
        dq[rows] = block_dq[0]
        dk.index_add_(0, keys, block_dk[0].float())
        dv.index_add_(0, keys, block_dv[0].float())
    return torch.cat([dq, dk, dv], 1).to(q.dtype)


def _capped(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float, softcap: float, hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `attend_part`: [N, Q, H, K] -> (out [N, Q, H, K], logsumexp float32 [N, Q, H])."""
    heads = k.shape[2]
    tanh = _tanh(q, k, scale, softcap)
    scores = (tanh * softcap).masked_fill_(_per_group(hidden, tanh), -torch.inf)
    logsumexp = scores.logsumexp(-1, keepdim=True)
    out = (scores - logsumexp).exp_().to(v.dtype) @ by_kv_head(v, heads)
    return _by_query(out, q), _by_query(logsumexp, q)[..., 0]


def _capped_backward(
    logsumexp: torch.Tensor,
    delta: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    grad: torch.Tensor,
    *,
    scale: float,
    softcap: float,
    hidden: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `attend_part_backward`, with dS = P (gv' - delta) (1 - tanh^2)."""
    count, length, heads, width = k.shape
    tanh = _tanh(q, k, scale, softcap)
    sums, deltas = (by_kv_head(t[..., None], heads) for t in (logsumexp, delta))
    queries, keys, values, grads = (by_kv_head(t, heads) for t in (q, k, v, grad))
    probabilities = (tanh * softcap - sums).exp_().masked_fill_(_per_group(hidden, tanh), 0)
    grad_probabilities = grads.float() @ values.float().transpose(1, 2) - deltas
    grad_scores = (grad_probabilities * probabilities * (1 - tanh.square()) * scale).to(q.dtype)
    probabilities = probabilities.to(q.dtype)
    dk, dv = grad_scores.transpose(1, 2) @ queries, probabilities.transpose(1, 2) @ grads
    dk, dv = (t.view(count, heads, length, width).transpose(1, 2) for t in (dk, dv))
    return _by_query(grad_scores @ keys, q), dk, dv


def _tanh(q: torch.Tensor, k: torch.Tensor, scale: float, softcap: float) -> torch.Tensor:
    """tanh(scale qk' / softcap), float32 [N G, H / G Q, J]."""
    queries, keys = (by_kv_head(t.float(), k.shape[2]) for t in (q, k))
    return torch.tanh(queries @ keys.transpose(1, 2) * (scale / softcap))


def _per_group(hidden: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """[Q, J] -> [H / G Q, J]."""
    return hidden.repeat(scores.shape[1] // len(hidden), 1)


def _by_query(rows: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """[N G, H / G Q, K] -> [N, Q, H, K], for queries q [N, Q, H, .]."""
    count, length, heads = q.shape[:3]
    split = rows.view(count, len(rows) // count, -1, length, rows.shape[-1])
    return split.permute(0, 3, 1, 2, 4).reshape(count, length, heads, -1)
