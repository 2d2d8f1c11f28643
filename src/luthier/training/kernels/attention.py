"""Attention for packed rows: many examples in one row, each attending only to itself and to prefixes it shares.

A token's attention is cut into parts: its own segment, and each segment above. A part yields its mix of values and
the logarithm of its sum of exponentials, and the parts are weighed by these; that is exact. Backward, each part
needs only the logarithm of the whole sum. It is written here as matrix products: PyTorch's own backward for
processors takes about ten times longer for short examples in bfloat16.

Registered with transformers under a name of its own, so that every architecture that uses the common attention
interface trains packed.
"""

import math
from typing import Any

import torch
from transformers import AttentionInterface

from luthier.training.kernels import bindings
from luthier.training.packing.packed_layout import Layout
from luthier.types.errors import LuthierError

NAME = "luthier_packed"
_BLOCK = 128  # queries at a time on the way back; keys after a block's last query are not touched
_NEVER = 1e30  # as the logarithm of a sum: nothing of it is left


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
    """query [1, H, T, K], key and value [1, G, T, K] (G groups of heads) -> [1, T, H, K].

    Raises LuthierError for what an architecture asks beyond that: leaving it out would train another model.
    """
    if softcap is not None or s_aux is not None or (sliding_window and sliding_window < layout.longest):
        window = f"a sliding window of {sliding_window} tokens, shorter than an example of {layout.longest}"
        what = "soft caps" if softcap is not None else "attention sinks" if s_aux is not None else window
        raise LuthierError(f"This base model's attention has {what}, which training does not know yet.")
    q, k, v = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        mixed = attend(q, k, v, layout, scaling or query.shape[-1] ** -0.5)
    return mixed[None], None


AttentionInterface.register(NAME, packed_attention)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float) -> torch.Tensor:
    """q [T, H, K], k and v [T, G, K] of one dtype -> [T, H, K]."""
    mixed: torch.Tensor = _Attention.apply(q, k, v, layout, scale)  # type: ignore[no-untyped-call]
    return mixed


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
    ) -> torch.Tensor:
        mixed, sums = forward(q, k, v, layout, scale)
        ctx.save_for_backward(q, k, v, mixed, sums)
        ctx.layout, ctx.scale = layout, scale
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, mixed, sums = ctx.saved_tensors
        made = backward(gradient, q, k, v, mixed, sums, ctx.layout, ctx.scale)
        return *made.split_with_sizes([q.shape[1], k.shape[1], v.shape[1]], 1), None, None


def forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [T, H, K], k and v [T, G, K] -> (mixed [T, H, K], the logarithm of each sum float32 [T, H])."""
    if bindings.supports(q, k, v):
        return _native_forward(q, k, v, layout, scale)
    # Parts are added up in float32; where there is one part only, there is nothing to add.
    mixed = torch.empty(q.shape, dtype=torch.float32 if layout.above else q.dtype, device=q.device)
    sums = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for group in layout.groups:
        part, part_sums = _part(*(group.gather(tensor) for tensor in (q, k, v)), scale=scale, causal=True)
        group.scatter(part, mixed)
        group.scatter(part_sums, sums)
    for keys, queries in layout.above:
        part, part_sums = _part(q[None, queries], k[None, keys], v[None, keys], scale=scale, causal=False)
        _merge(mixed[queries], sums[queries], part[0], part_sums[0])
    return mixed.to(q.dtype), sums


def backward(
    gradient: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mixed: torch.Tensor,
    sums: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    """The gradients of q, k and v side by side [T, H + 2 G, K], given that of what `forward` found."""
    if bindings.supports(q, k, v, gradient):
        return _native_backward(gradient.contiguous(), q, k, v, mixed, sums, layout, scale)
    inner = (gradient.float() * mixed).sum(-1)
    dtype = torch.float32 if layout.above else q.dtype
    dq, dk, dv = (torch.empty(tensor.shape, dtype=dtype, device=q.device) for tensor in (q, k, v))
    for group in layout.groups:
        padded = [group.gather(tensor) for tensor in (inner, q, k, v, gradient)]
        parts = _part_backward(group.gather(sums, padding=_NEVER), *padded, scale=scale, causal=True)
        for total, part in zip((dq, dk, dv), parts, strict=True):
            group.scatter(part, total)
    for keys, queries in layout.above:
        given = (sums[queries], inner[queries], q[queries], k[keys], v[keys], gradient[queries])
        parts = _part_backward(*(tensor[None] for tensor in given), scale=scale, causal=False)
        for total, part, where in zip((dq, dk, dv), parts, (queries, keys, keys), strict=True):
            total[where] += part[0]
    return torch.cat([dq, dk, dv], 1).to(q.dtype)


def _native_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    q, k, v = _token_by_token(q, k, v)
    mixed, sums = torch.empty(q.shape, dtype=q.dtype), torch.empty(q.shape[:2])
    sizes = len(layout.segments), *q.shape[:2], k.shape[1], q.shape[2]
    bindings.call("attend", q, q, q.stride(0), k, v, k.stride(0), mixed, sums, float(scale), layout.segments, *sizes)
    return mixed, sums


def _native_backward(
    gradient: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mixed: torch.Tensor,
    sums: torch.Tensor,
    layout: Layout,
    scale: float,
) -> torch.Tensor:
    q, k, v = _token_by_token(q, k, v)
    tokens, heads, width = q.shape
    groups = k.shape[1]
    made = torch.empty((tokens, heads + 2 * groups, width), dtype=q.dtype)
    of_q, of_k, of_v = made.split_with_sizes([heads, groups, groups], 1)
    read = gradient, q, q.stride(0), k, v, k.stride(0), mixed, sums
    written = of_q, made.stride(0), of_k, of_v, made.stride(0)
    sizes = len(layout.segments), tokens, heads, groups, width
    bindings.call("attend_backward", q, *read, *written, float(scale), layout.segments, *sizes)
    return made


def _token_by_token(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[T, ., K] with the heads of a token one after the other, and k and v at the same distance."""
    q, k, v = tensors
    if all(t.stride(1) == t.shape[2] for t in tensors) and k.stride(0) == v.stride(0):
        return tensors
    return q.contiguous(), k.contiguous(), v.contiguous()


def _merge(mixed: torch.Tensor, sums: torch.Tensor, part: torch.Tensor, part_sums: torch.Tensor) -> None:
    """Adds a part to what there is, in place."""
    total = torch.logaddexp(sums, part_sums)
    mixed *= (sums - total).exp_()[..., None]
    mixed += part * (part_sums - total).exp_()[..., None]
    sums.copy_(total)


def _part(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [N, Q, H, K], k and v [N, J, G, K] -> (mixed [N, Q, H, K], logarithm of the sums float32 [N, Q, H])."""
    ops = torch.ops.aten
    if q.device.type == "cpu":
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        mixed, sums = ops._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)
    else:
        k, v = (tensor.repeat_interleave(q.shape[2] // k.shape[2], 2) for tensor in (k, v))
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        mixed, sums, *_ = ops._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal, scale=scale)
        sums = sums[..., : q.shape[2]]  # its kernel rounds the length up
    return mixed.transpose(1, 2), sums.transpose(1, 2)


def _part_backward(
    sums: torch.Tensor,
    inner: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gradient: torch.Tensor,
    *,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v [N, ., ., K], given that of the whole mix.

    `sums` and `inner` float32 [N, Q, H]: the logarithm of the whole sum, and gradient times mix. With P the shares
    exp(scale qk - sums): dv = P'g, dS = P (gv' - inner), dq = scale dS k, dk = scale dS'q.
    """
    count, length, groups = k.shape[0], k.shape[1], k.shape[2]
    # Sums and inner products go into the matrix products as further columns. They are then taken off before the
    # result is rounded, so that a large score loses nothing. Of the scale, q takes the power of two, which is exact.
    power = 2.0 ** math.floor(math.log2(scale))
    q_more = torch.cat([q * power, _columns(sums * (-power / scale), q.dtype)], -1)
    g_more = torch.cat([gradient, _columns(-inner, q.dtype)], -1)
    k_more, v_more = (_by_group(torch.cat([t, torch.ones_like(t[..., :_COLUMNS])], -1), groups) for t in (k, v))
    keys, width = _by_group(k, groups), q.shape[-1]
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    dk, dv = (torch.zeros(keys.shape, dtype=torch.float32, device=q.device) for _ in range(2))
    for start in range(0, q.shape[1], _BLOCK):
        block = slice(start, min(start + _BLOCK, q.shape[1]))
        seen = block.stop if causal else length
        rows_q, rows_g = _by_group(q_more[:, block], groups), _by_group(g_more[:, block], groups)
        shares = torch.bmm(rows_q, k_more[:, :seen].transpose(1, 2))
        if power != scale:
            shares.mul_(scale / power)
        shares.exp_()
        if causal:
            shares.view(-1, block.stop - start, seen)[..., start:].tril_()
        dv[:, :seen] += torch.bmm(shares.transpose(1, 2), rows_g[..., :width])
        scores = shares.mul_(torch.bmm(rows_g, v_more[:, :seen].transpose(1, 2)))
        dk[:, :seen] += torch.bmm(scores.transpose(1, 2), rows_q[..., :width])
        of_queries = torch.bmm(scores, keys[:, :seen]).view(count, groups, -1, block.stop - start, width)
        dq[:, block] = of_queries.mul_(scale).permute(0, 3, 1, 2, 4).flatten(2, 3)
    dk, dv = (tensor.view(count, groups, length, -1).transpose(1, 2) for tensor in (dk, dv))
    return dq, dk.mul_(scale / power), dv


_COLUMNS = 3


def _columns(numbers: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[...] float32 -> [..., 3] in `dtype`, whose sum is the number itself."""
    first = numbers.to(dtype)
    rest = numbers - first
    second = rest.to(dtype)
    return torch.stack([first, second, (rest - second).to(dtype)], -1)


def _by_group(rows: torch.Tensor, groups: int) -> torch.Tensor:
    """[N, Q, H, K] -> [N * G, H / G * Q, K]: the heads that share keys one after the other."""
    count, length, heads, width = rows.shape
    split = rows.view(count, length, groups, heads // groups, width)
    return split.permute(0, 2, 3, 1, 4).reshape(count * groups, heads // groups * length, width)
