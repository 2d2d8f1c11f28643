"""Attention over the rows of a row cache, for a prefill chunk of one row or a decode step of several."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec
from luthier.inference.memory.row_cache import POSITION_MULTIPLE, Row, RowBuffer, round_up

# The attention of one layer: (layer, q [T, H, K], k [T, G, K], v [T, G, K], sinks) -> [T, H K]; writes k and v to the
# cache. Sinks float32 [H]: the score of a further key of each head whose value is zero; None without.
Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def prefill_attention(row: Row, start: int, count: int, spec: DecoderSpec) -> Attention:
    """Attention for `count` tokens of one sequence from position `start` on."""
    shape, end = row.buffer.shape, start + count
    length, kv_heads, group_size = round_up(end, POSITION_MULTIPLE), shape.kv_heads, spec.heads // shape.kv_heads
    firsts = {window: _first_position(start, window) for window in spec.windows}
    masks = {window: _prefill_mask(row, start, count, window).repeat(group_size, 1) for window in firsts}

    def attend(
        layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor | None
    ) -> torch.Tensor:
        keys, values = row.buffer.data[layer, 0, row.index], row.buffer.data[layer, 1, row.index]
        keys[:, start:end], values[:, start:end] = k.transpose(0, 1), v.transpose(0, 1)
        queries = q.view(count, kv_heads, group_size, shape.head_dim).permute(1, 2, 0, 3)
        visible = slice(firsts[spec.windows[layer]], length)
        mixed = _attention(
            queries.reshape(1, kv_heads, group_size * count, shape.head_dim),
            keys[None, :, visible],
            values[None, :, visible],
            masks[spec.windows[layer]],
            sinks,
            spec,
        )
        return mixed.view(kv_heads * group_size, count, shape.head_dim).transpose(0, 1).reshape(count, -1)

    return attend


def decode_attention(buffer: RowBuffer, positions: Sequence[int], spec: DecoderSpec) -> Attention:
    """Attention for one token of each of the first rows, at these `positions`."""
    shape, count, length = buffer.shape, len(positions), round_up(max(positions) + 1, POSITION_MULTIPLE)
    rows = torch.arange(count, device=shape.device)
    ends = torch.tensor(positions, device=shape.device)
    masks = {window: _decode_mask(ends, length, window, shape.dtype)[:, None, None] for window in set(spec.windows)}

    def attend(
        layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sinks: torch.Tensor | None
    ) -> torch.Tensor:
        keys, values = buffer.data[layer, 0], buffer.data[layer, 1]
        keys[rows, :, ends], values[rows, :, ends] = k, v
        mixed = _attention(
            q.reshape(count, shape.kv_heads, -1, shape.head_dim),
            keys[:count, :, :length],
            values[:count, :, :length],
            masks[spec.windows[layer]],
            sinks,
            spec,
        )
        return mixed.reshape(count, -1)

    return attend


# Masks are in the model's dtype, since PyTorch would convert boolean masks again in every layer.


def _first_position(start: int, window: int | None) -> int:
    """The first key that a prefill chunk from `start` on reads."""
    return 0 if window is None else max(0, start - window + 1) // POSITION_MULTIPLE * POSITION_MULTIPLE


def _prefill_mask(row: Row, start: int, count: int, window: int | None) -> torch.Tensor:
    """[T, L]: -inf where a token does not see a key, else 0."""
    shape, first = row.buffer.shape, _first_position(start, window)
    keys = round_up(start + count, POSITION_MULTIPLE) - first
    hidden = torch.full((count, keys), -torch.inf, dtype=shape.dtype, device=shape.device)
    later = hidden.triu(start - first + 1)
    return later if window is None else later + hidden.tril(start - first - window)


def _decode_mask(ends: torch.Tensor, length: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """[B, L]: -inf where a row's token, at position `ends` [B], does not see a key, else 0."""
    keys = torch.arange(length, device=ends.device)
    hidden = keys > ends[:, None]
    if window is not None:
        hidden |= keys <= ends[:, None] - window
    return torch.zeros(hidden.shape, dtype=dtype, device=ends.device).masked_fill_(hidden, -torch.inf)


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    sinks: torch.Tensor | None,
    spec: DecoderSpec,
) -> torch.Tensor:
    """q [B, G, Q, K], k and v [B, G, L, K], mask [..., Q, L] -> [B, G, Q, K]; the queries of a head are adjacent."""
    cap = spec.attention_softcap
    if cap is None and sinks is None:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=spec.attention_scale)
    scores = (q @ k.transpose(2, 3)).float() * (spec.attention_scale / (cap or 1))
    if cap is not None:
        scores = torch.tanh(scores) * cap
    scores += mask
    if sinks is not None:
        column = sinks.repeat_interleave(q.shape[1] * q.shape[2] // len(sinks)).view(1, *q.shape[1:3], 1)
        scores = torch.cat([scores, column.expand(len(q), -1, -1, -1)], -1)
    return torch.softmax(scores, -1)[..., : k.shape[2]].to(v.dtype) @ v
