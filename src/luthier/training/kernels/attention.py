"""Attention over packed rows: many examples in one row, each attending only to itself and to its shared prefixes.

The attention of a token consists of parts: its own segment, and each ancestor segment. A part yields an output and the
logsumexp of its scores, by which the parts are weighted; that is exact. The backward pass needs the logsumexp of all
parts together. It is written as matrix products (`attention_parts.py`): PyTorch's own backward pass on CPUs takes about
ten times longer for short examples in bfloat16. Windows and soft caps without a compiler: `masked_attention.py`.

Registered with transformers under a name of its own, so that every architecture that uses the common attention
interface trains packed.

T tokens, H query heads, G key/value heads, K head width; a batch of N segments has Q queries and J keys each.
"""

from typing import Any

import torch
from transformers import AttentionInterface

from luthier.training.kernels import bindings, masked_attention
from luthier.training.kernels.attention_parts import attend_part, attend_part_backward, merge
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.packing.packed_layout import Layout

NAME = "luthier_packed"
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
    """query [1, H, T, K], key and value [1, G, T, K], s_aux [H] (attention sinks) -> [1, T, H, K]."""
    rule = ScoreRule(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    q, k, v = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        out = attend(q, k, v, layout, rule, s_aux)
    return out[None], None


AttentionInterface.register(NAME, packed_attention)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layout: Layout,
    rule: ScoreRule,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """q [T, H, K], k and v [T, G, K] of one dtype -> [T, H, K], differentiable.

    `sinks` [H]: the score of a further key of each head whose value is zero.
    """
    out: torch.Tensor = _Attention.apply(q, k, v, layout, rule, sinks)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        layout: Layout,
        rule: ScoreRule,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        out, logsumexp = forward(q, k, v, layout, rule)
        if sinks is not None:  # a part whose output is zero
            total = torch.logaddexp(logsumexp, sinks.float())
            out, logsumexp = (out * (logsumexp - total).exp_()[..., None]).to(out.dtype), total
        ctx.save_for_backward(q, k, v, out, logsumexp, sinks)
        ctx.layout, ctx.rule = layout, rule
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, logsumexp, sinks = ctx.saved_tensors
        grads = backward(grad, q, k, v, out, logsumexp, ctx.layout, ctx.rule)
        sink_grad = None
        if ctx.needs_input_grad[-1]:
            sink_grad = -((sinks - logsumexp).exp_() * (grad.float() * out).sum(-1)).sum(0).to(sinks.dtype)
        return *grads.split_with_sizes([q.shape[1], k.shape[1], v.shape[1]], 1), None, None, sink_grad


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, rule: ScoreRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [T, H, K], k and v [T, G, K] -> (out [T, H, K], logsumexp of the scores float32 [T, H])."""
    if bindings.supports(q, k, v):
        return _compiled_forward(q, k, v, layout, rule)
    if rule.has_window(layout) or rule.softcap is not None:
        return masked_attention.forward(q, k, v, layout, rule)
    # Several parts are summed in float32; a single part needs no sum.
    out = torch.empty(q.shape, dtype=torch.float32 if layout.above else q.dtype, device=q.device)
    logsumexp = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for group in layout.groups:
        part, part_logsumexp = attend_part(
            *(group.gather(tensor) for tensor in (q, k, v)), scale=rule.scale, causal=True
        )
        group.scatter(part, out)
        group.scatter(part_logsumexp, logsumexp)
    for keys, queries in layout.above:
        part, part_logsumexp = attend_part(
            q[None, queries], k[None, keys], v[None, keys], scale=rule.scale, causal=False
        )
        merge(out[queries], logsumexp[queries], part[0], part_logsumexp[0])
    return out.to(q.dtype), logsumexp


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
    if bindings.supports(q, k, v, grad):
        return _compiled_backward(grad.contiguous(), q, k, v, out, logsumexp, layout, rule)
    if rule.has_window(layout) or rule.softcap is not None:
        return masked_attention.backward(grad, q, k, v, out, logsumexp, layout, rule)
    delta = (grad.float() * out).sum(-1)
    dtype = torch.float32 if layout.above else q.dtype
    dq, dk, dv = (torch.empty(tensor.shape, dtype=dtype, device=q.device) for tensor in (q, k, v))
    for group in layout.groups:
        padded = [group.gather(tensor) for tensor in (delta, q, k, v, grad)]
        padded_logsumexp = group.gather(logsumexp, padding=_EMPTY_LOGSUMEXP)
        parts = attend_part_backward(padded_logsumexp, *padded, scale=rule.scale, causal=True)
        for total, part in zip((dq, dk, dv), parts, strict=True):
            group.scatter(part, total)
    for keys, queries in layout.above:
        rows = (logsumexp[queries], delta[queries], q[queries], k[keys], v[keys], grad[queries])
        parts = attend_part_backward(*(tensor[None] for tensor in rows), scale=rule.scale)
        for total, part, tokens in zip((dq, dk, dv), parts, (queries, keys, keys), strict=True):
            total[tokens] += part[0]
    return torch.cat([dq, dk, dv], 1).to(q.dtype)


def _compiled_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, rule: ScoreRule
) -> tuple[torch.Tensor, torch.Tensor]:
    q, k, v = _with_adjacent_heads(q, k, v)
    out, logsumexp = torch.empty(q.shape, dtype=q.dtype), torch.empty(q.shape[:2])
    sizes = len(layout.segments), *q.shape[:2], k.shape[1], q.shape[2]
    inputs = q, q.stride(0), k, v, k.stride(0)
    bindings.call("attend", q, *inputs, out, logsumexp, *rule.kernel_arguments(layout), layout.segments, *sizes)
    return out, logsumexp


def _compiled_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    layout: Layout,
    rule: ScoreRule,
) -> torch.Tensor:
    q, k, v = _with_adjacent_heads(q, k, v)
    tokens, heads, width = q.shape
    kv_heads = k.shape[1]
    grads = torch.empty((tokens, heads + 2 * kv_heads, width), dtype=q.dtype)
    grad_q, grad_k, grad_v = grads.split_with_sizes([heads, kv_heads, kv_heads], 1)
    inputs = grad, q, q.stride(0), k, v, k.stride(0), out, logsumexp
    outputs = grad_q, grads.stride(0), grad_k, grad_v, grads.stride(0)
    sizes = len(layout.segments), tokens, heads, kv_heads, width
    bindings.call("attend_backward", q, *inputs, *outputs, *rule.kernel_arguments(layout), layout.segments, *sizes)
    return grads


def _with_adjacent_heads(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k, v [T, ., K] with the heads of a token adjacent in memory, and the same token stride for k and v."""
    q, k, v = tensors
    if all(t.stride(1) == t.shape[2] for t in tensors) and k.stride(0) == v.stride(0):
        return tensors
    return q.contiguous(), k.contiguous(), v.contiguous()
