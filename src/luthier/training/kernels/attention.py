"""Attention over packed rows: many examples in one row, each attending only to itself and to prefixes that it shares.

The attention of a token consists of parts: its own segment, and each ancestor segment. A part yields an output and the
logsumexp of its scores, by which the parts are weighted; that is exact. The backward pass needs the logsumexp of all
parts together. It is written here as matrix products: PyTorch's own backward pass on CPUs takes about ten times longer
for short examples in bfloat16.

Registered with transformers under a name of its own, so that every architecture that uses the common attention
interface trains packed.

T tokens, H query heads, G key/value heads, K head width; a batch of N segments has Q queries and J keys each.
"""

import math
from typing import Any

import torch
from transformers import AttentionInterface

from luthier.training.kernels import bindings
from luthier.training.packing.packed_layout import Layout
from luthier.types.errors import LuthierError

NAME = "luthier_packed"
_QUERY_BLOCK = 128  # queries at a time in the backward pass; keys after a block's last query are skipped
_EMPTY_LOGSUMEXP = 1e30  # of padding: exp(score - this) is 0


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    layout: Layout,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """query [1, H, T, K], key and value [1, G, T, K] -> [1, T, H, K].

    Raises LuthierError for a feature that is not implemented: leaving it out would train another model.
    """
    if softcap is not None or s_aux is not None or (sliding_window and sliding_window < layout.longest):
        window = f"a sliding window of {sliding_window} tokens, shorter than an example of {layout.longest}"
        feature = "soft caps" if softcap is not None else "attention sinks" if s_aux is not None else window
        raise LuthierError(f"This base model's attention has {feature}, which training does not know yet.")
    q, k, v = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        out = attend(q, k, v, layout, scaling or query.shape[-1] ** -0.5)
    return out[None], None


AttentionInterface.register(NAME, packed_attention)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float) -> torch.Tensor:
    """q [T, H, K], k and v [T, G, K] of one dtype -> [T, H, K], differentiable."""
    out: torch.Tensor = _Attention.apply(q, k, v, layout, scale)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
    ) -> torch.Tensor:
        out, logsumexp = forward(q, k, v, layout, scale)
        ctx.save_for_backward(q, k, v, out, logsumexp)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, logsumexp = ctx.saved_tensors
        grads = backward(grad, q, k, v, out, logsumexp, ctx.layout, ctx.scale)
        return *grads.split_with_sizes([q.shape[1], k.shape[1], v.shape[1]], 1), None, None


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [T, H, K], k and v [T, G, K] -> (out [T, H, K], logsumexp of the scores float32 [T, H])."""
    if bindings.supports(q, k, v):
        return _compiled_forward(q, k, v, layout, scale)
    # Several parts are summed in float32; a single part needs no sum.
    out = torch.empty(q.shape, dtype=torch.float32 if layout.above else q.dtype, device=q.device)
    logsumexp = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for group in layout.groups:
        part, part_logsumexp = _part(*(group.gather(tensor) for tensor in (q, k, v)), scale=scale, causal=True)
        group.scatter(part, out)
        group.scatter(part_logsumexp, logsumexp)
    for keys, queries in layout.above:
        part, part_logsumexp = _part(q[None, queries], k[None, keys], v[None, keys], scale=scale, causal=False)
        _merge(out[queries], logsumexp[queries], part[0], part_logsumexp[0])
    return out.to(q.dtype), logsumexp


def backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    """The gradients of q, k and v side by side [T, H + 2 G, K], given that of `out`; the rest as in `forward`."""
    if bindings.supports(q, k, v, grad):
        return _compiled_backward(grad.contiguous(), q, k, v, out, logsumexp, layout, scale)
    delta = (grad.float() * out).sum(-1)
    dtype = torch.float32 if layout.above else q.dtype
    dq, dk, dv = (torch.empty(tensor.shape, dtype=dtype, device=q.device) for tensor in (q, k, v))
    for group in layout.groups:
        padded = [group.gather(tensor) for tensor in (delta, q, k, v, grad)]
        padded_logsumexp = group.gather(logsumexp, padding=_EMPTY_LOGSUMEXP)
        parts = _part_backward(padded_logsumexp, *padded, scale=scale, causal=True)
        for total, part in zip((dq, dk, dv), parts, strict=True):
            group.scatter(part, total)
    for keys, queries in layout.above:
        rows = (logsumexp[queries], delta[queries], q[queries], k[keys], v[keys], grad[queries])
        parts = _part_backward(*(tensor[None] for tensor in rows), scale=scale, causal=False)
        for total, part, tokens in zip((dq, dk, dv), parts, (queries, keys, keys), strict=True):
            total[tokens] += part[0]
    return torch.cat([dq, dk, dv], 1).to(q.dtype)


def _compiled_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    q, k, v = _with_adjacent_heads(q, k, v)
    out, logsumexp = torch.empty(q.shape, dtype=q.dtype), torch.empty(q.shape[:2])
    sizes = len(layout.segments), *q.shape[:2], k.shape[1], q.shape[2]
    inputs = q, q.stride(0), k, v, k.stride(0)
    bindings.call("attend", q, *inputs, out, logsumexp, float(scale), layout.segments, *sizes)
    return out, logsumexp


def _compiled_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    q, k, v = _with_adjacent_heads(q, k, v)
    tokens, heads, width = q.shape
    kv_heads = k.shape[1]
    grads = torch.empty((tokens, heads + 2 * kv_heads, width), dtype=q.dtype)
    grad_q, grad_k, grad_v = grads.split_with_sizes([heads, kv_heads, kv_heads], 1)
    inputs = grad, q, q.stride(0), k, v, k.stride(0), out, logsumexp
    outputs = grad_q, grads.stride(0), grad_k, grad_v, grads.stride(0)
    sizes = len(layout.segments), tokens, heads, kv_heads, width
    bindings.call("attend_backward", q, *inputs, *outputs, float(scale), layout.segments, *sizes)
    return grads


def _with_adjacent_heads(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k, v [T, ., K] with the heads of a token adjacent in memory, and one token stride for k and v."""
    q, k, v = tensors
    if all(t.stride(1) == t.shape[2] for t in tensors) and k.stride(0) == v.stride(0):
        return tensors
    return q.contiguous(), k.contiguous(), v.contiguous()


def _merge(out: torch.Tensor, logsumexp: torch.Tensor, part: torch.Tensor, part_logsumexp: torch.Tensor) -> None:
    """Adds a part to the output and logsumexp of the parts before it, in place."""
    total = torch.logaddexp(logsumexp, part_logsumexp)
    out *= (logsumexp - total).exp_()[..., None]
    out += part * (part_logsumexp - total).exp_()[..., None]
    logsumexp.copy_(total)


def _part(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [N, Q, H, K], k and v [N, J, G, K] -> (out [N, Q, H, K], logsumexp float32 [N, Q, H])."""
    ops = torch.ops.aten
    if q.device.type == "cpu":
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        out, logsumexp = ops._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    else:
        k, v = (tensor.repeat_interleave(q.shape[2] // k.shape[2], 2) for tensor in (k, v))
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        out, logsumexp, *_ = ops._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal, scale=scale)
        logsumexp = logsumexp[..., : q.shape[2]]  # the kernel rounds the length up
    return out.transpose(1, 2), logsumexp.transpose(1, 2)


def _part_backward(
    logsumexp: torch.Tensor,
    delta: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    grad: torch.Tensor,
    *,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v [N, ., ., K], given that of the whole output.

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
        _by_kv_head(torch.cat([t, torch.ones_like(t[..., :_COLUMNS])], -1), kv_heads) for t in (k, v)
    )
    keys, width = _by_kv_head(k, kv_heads), q.shape[-1]
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk, dv = (torch.zeros(keys.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    for start in range(0, q.shape[1], _QUERY_BLOCK):
        block = slice(start, min(start + _QUERY_BLOCK, q.shape[1]))
        visible = block.stop if causal else length
        q_rows, grad_rows = _by_kv_head(q_extended[:, block], kv_heads), _by_kv_head(grad_extended[:, block], kv_heads)
        probabilities = torch.bmm(q_rows, k_extended[:, :visible].transpose(1, 2))
        if power != scale:
            probabilities.mul_(scale / power)
        probabilities.exp_()
        if causal:
            probabilities.view(-1, block.stop - start, visible)[..., start:].tril_()
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


def _by_kv_head(rows: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """[N, Q, H, K] -> [N * G, H / G * Q, K]: the query heads of a key/value head one after the other."""
    count, length, heads, width = rows.shape
    split = rows.view(count, length, kv_heads, heads // kv_heads, width)
    return split.permute(0, 2, 3, 1, 4).reshape(count * kv_heads, heads // kv_heads * length, width)
