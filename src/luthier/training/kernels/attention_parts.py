"""One part of packed attention, forward and backward: queries that attend to keys, all of them or causally.

N segments with Q queries and J keys each, H query heads, G key/value heads, K head width.
"""

import math

import torch

_ALIGNMENT = 16  # elements
_QUERY_BLOCK = 128  # queries at a time in the backward pass; keys after a block's last query are skipped


def merge(out: torch.Tensor, logsumexp: torch.Tensor, part: torch.Tensor, part_logsumexp: torch.Tensor) -> None:
    """Adds a part to the output and logsumexp of the parts before it, in place."""
    total = torch.logaddexp(logsumexp, part_logsumexp)
    out *= (logsumexp - total).exp_()[..., None]
    out += part * (part_logsumexp - total).exp_()[..., None]
    logsumexp.copy_(total)


def attend_part(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    hidden: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [N, Q, H, K], k and v [N, J, G, K] -> (out [N, Q, H, K], logsumexp float32 [N, Q, H]).

    `hidden` bool [Q, J]: the keys that a query does not attend to.
    """
    ops, bias = torch.ops.aten, None if hidden is None else _bias(hidden, q.dtype)
    if q.device.type == "cpu":
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        out, logsumexp = ops._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=bias, scale=scale
        )
    elif q.device.type == "cuda":
        k, v = (tensor.repeat_interleave(q.shape[2] // k.shape[2], 2) for tensor in (k, v))
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        bias = None if bias is None else bias.expand(*q.shape[:2], -1, -1)
        out, logsumexp, *_ = ops._scaled_dot_product_efficient_attention(q, k, v, bias, True, 0.0, causal, scale=scale)
        logsumexp = logsumexp[..., : q.shape[2]]  # the kernel rounds the length up
    else:
        return attend_plainly(q, k, v, scale=scale, causal=causal, hidden=hidden)
    return out.transpose(1, 2), logsumexp.transpose(1, 2)


def attend_plainly(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float,
    causal: bool,
    hidden: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Like `attend_part`, in operations that every device supports; scores are float32."""
    k, v = (tensor.repeat_interleave(q.shape[2] // k.shape[2], 2) for tensor in (k, v))
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    scores = q.float() @ k.float().transpose(-1, -2) * scale
    if causal:
        unseen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        hidden = unseen if hidden is None else hidden | unseen
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    logsumexp = scores.logsumexp(-1)
    out = (scores - logsumexp[..., None]).exp().to(v.dtype) @ v
    return out.transpose(1, 2), logsumexp.transpose(1, 2)


def _bias(hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[Q, J]: -inf at hidden keys, else 0. Rows are padded in memory, as the kernels of GPUs need it."""
    queries, keys = hidden.shape
    rows = torch.zeros(queries, -(-keys // _ALIGNMENT) * _ALIGNMENT, dtype=dtype, device=hidden.device)
    return rows[:, :keys].masked_fill_(hidden, -torch.inf)


def attend_part_backward(
    logsumexp: torch.Tensor,
    delta: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    grad: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    hidden: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v [N, ., ., K], given that of the whole output; `hidden` as in `attend_part`.

    `logsumexp` and `delta` float32 [N, Q, H]: of all parts together, and rowsum(grad * out). With the probabilities
    P = exp(scale qk' - logsumexp): dv = P'g, dS = P (gv' - delta), dq = scale dS k, dk = scale dS'q.
    """
    count, length, kv_heads = k.shape[0], k.shape[1], k.shape[2]
    # logsumexp and delta enter the matrix products as further columns, and so are subtracted before the result is
    # rounded: a large score loses no precision. q takes the power of two in the scale, which is exact.
    power = 2.0 ** math.floor(math.log2(scale))
    q_extended = torch.cat([q * power, _split_columns(logsumexp * (-power / scale), q.dtype)], -1)
    grad_extended = torch.cat([grad, _split_columns(-delta, q.dtype)], -1)
    k_extended, v_extended = (
        by_kv_head(torch.cat([t, torch.ones_like(t[..., :_COLUMNS])], -1), kv_heads) for t in (k, v)
    )
    keys, width = by_kv_head(k, kv_heads), q.shape[-1]
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk, dv = (torch.zeros(keys.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    for start in range(0, q.shape[1], _QUERY_BLOCK):
        block = slice(start, min(start + _QUERY_BLOCK, q.shape[1]))
        visible = block.stop if causal else length
        q_rows, grad_rows = by_kv_head(q_extended[:, block], kv_heads), by_kv_head(grad_extended[:, block], kv_heads)
        probabilities = torch.bmm(q_rows, k_extended[:, :visible].transpose(1, 2))
        if power != scale:
            probabilities.mul_(scale / power)
        probabilities.exp_()
        if causal:
            probabilities.view(-1, block.stop - start, visible)[..., start:].tril_()
        if hidden is not None:
            probabilities.view(-1, block.stop - start, visible).masked_fill_(hidden[block], 0)
        dv[:, :visible] += torch.bmm(probabilities.transpose(1, 2), grad_rows[..., :width])
        grad_scores = probabilities.mul_(torch.bmm(grad_rows, v_extended[:, :visible].transpose(1, 2)))
        dk[:, :visible] += torch.bmm(grad_scores.transpose(1, 2), q_rows[..., :width])
        grad_q = torch.bmm(grad_scores, keys[:, :visible]).view(count, kv_heads, -1, block.stop - start, width)
        dq[:, block] = grad_q.mul_(scale).permute(0, 3, 1, 2, 4).flatten(2, 3)
    dk, dv = (tensor.view(count, kv_heads, length, -1).transpose(1, 2) for tensor in (dk, dv))
    return dq, dk.mul_(scale / power), dv


_COLUMNS = 3


def _split_columns(numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[...] float32 -> [..., 3] in `dtype`, whose sum is the number itself."""
    first = numbers.to(dtype)
    rest = numbers - first
    second = rest.to(dtype)
    return torch.stack([first, second, (rest - second).to(dtype)], -1)


def by_kv_head(rows: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """[N, Q, H, K] -> [N * G, H / G * Q, K]: the query heads of a key/value head one after the other."""
    count, length, heads, width = rows.shape
    split = rows.view(count, length, kv_heads, heads // kv_heads, width)
    return split.permute(0, 2, 3, 1, 4).reshape(count * kv_heads, heads // kv_heads * length, width)
