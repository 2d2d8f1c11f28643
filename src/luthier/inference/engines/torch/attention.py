"""Attention over the rows of a row cache, for a prefill chunk of one row or a decode step of several."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from luthier.inference.memory.row_cache import POSITION_MULTIPLE, Row, RowBuffer, round_up

# The attention of one layer: (layer, q [T, H, K], k [T, G, K], v [T, G, K]) -> [T, H K]; writes k and v to the cache.
Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def prefill_attention(row: Row, start: int, count: int, group_size: int) -> Attention:
    """For `count` tokens of one sequence from position `start` on; `group_size`: query heads per key head."""
    shape, end = row.buffer.shape, start + count
    length, kv_heads = round_up(end, POSITION_MULTIPLE), shape.kv_heads
    # In the model's dtype: PyTorch would convert a boolean mask anew in every layer.
    causal = torch.full((count, length), -torch.inf, dtype=shape.dtype, device=shape.device).triu(start + 1)
    mask = causal.repeat(group_size, 1)[None, None]

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys, values = row.buffer.data[layer, 0, row.index], row.buffer.data[layer, 1, row.index]
        keys[:, start:end], values[:, start:end] = k.transpose(0, 1), v.transpose(0, 1)
        queries = q.view(count, kv_heads, group_size, shape.head_dim).permute(1, 2, 0, 3)
        mixed = functional.scaled_dot_product_attention(
            queries.reshape(1, kv_heads, group_size * count, shape.head_dim),
            keys[None, :, :length],
            values[None, :, :length],
            attn_mask=mask,
            scale=shape.head_dim**-0.5,
        )
        return mixed.view(kv_heads * group_size, count, shape.head_dim).transpose(0, 1).reshape(count, -1)

    return attend


def decode_attention(buffer: RowBuffer, positions: Sequence[int]) -> Attention:
    """For one token of each of the first rows; `positions`: where they stand."""
    shape, count, length = buffer.shape, len(positions), round_up(max(positions) + 1, POSITION_MULTIPLE)
    rows = torch.arange(count, device=shape.device)
    ends = torch.tensor(positions, device=shape.device)
    beyond = torch.arange(length, device=shape.device) > ends[:, None]
    mask = torch.zeros(beyond.shape, dtype=shape.dtype, device=shape.device).masked_fill_(beyond, -torch.inf)

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys, values = buffer.data[layer, 0], buffer.data[layer, 1]
        keys[rows, :, ends], values[rows, :, ends] = k, v
        mixed = functional.scaled_dot_product_attention(
            q.reshape(count, shape.kv_heads, -1, shape.head_dim),
            keys[:count, :, :length],
            values[:count, :, :length],
            attn_mask=mask[:, None, None],
            scale=shape.head_dim**-0.5,
        )
        return mixed.reshape(count, -1)

    return attend
