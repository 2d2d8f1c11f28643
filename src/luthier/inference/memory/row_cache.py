"""KV cache with one contiguous row per sequence, as PyTorch's attention reads it.

Rows in use are always the first ones, so that a decode step over several sequences needs no gather.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

_IDLE_BYTES = 1 << 27  # memory that stays reserved while no sequence runs
_MIN_GROWTH = 256  # positions
# Attention reads a multiple of this many positions, masking unused ones. Otherwise the number of positions would change
# the order of summation, and a sequence would be rounded differently in a batch than alone.
POSITION_MULTIPLE = 16


@dataclass(frozen=True)
class CacheShape:
    layers: int
    kv_heads: int
    head_dim: int
    context_tokens: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        return self.layers * 2 * self.kv_heads * self.head_dim * int(self.dtype.itemsize)


class RowBuffer:
    """`data` [layers, 2, S, G, L, K]: keys and values of S rows of L positions."""

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape
        self.data = self._zeros(0, 0)

    def reserve(self, rows: int, positions: int) -> None:
        """Grows to at least `rows` rows of `positions` positions each; contents stay."""
        old_rows, old_positions = self.data.shape[2], self.data.shape[4]
        if rows <= old_rows and positions <= old_positions:
            return
        if positions > old_positions:
            limit = round_up(self.shape.context_tokens, POSITION_MULTIPLE)
            positions = min(max(round_up(positions, _MIN_GROWTH), 2 * old_positions), limit)
        old = self.data
        self.data = self._zeros(max(rows, old_rows), max(positions, old_positions))
        self.data[:, :, :old_rows, :, :old_positions] = old

    def _zeros(self, rows: int, positions: int) -> torch.Tensor:
        shape = self.shape
        sizes = (shape.layers, 2, rows, shape.kv_heads, positions, shape.head_dim)
        return torch.zeros(sizes, dtype=shape.dtype, device=shape.device)


@dataclass(eq=False)
class Row:
    """A sequence's handle. The runner updates `length`, `lora_slot` and `is_long` with each chunk.

    `is_long`: whether its keys are rotated by the long factors of LongRoPE.
    """

    buffer: RowBuffer
    index: int
    length: int = 0
    lora_slot: int | None = None
    is_long: bool = False

    def read(self, count: int) -> "RowPrefix":
        return RowPrefix(self.buffer.data[:, :, self.index, :, :count].clone(), self.is_long)

    def write(self, prefix: "RowPrefix", count: int) -> None:
        self.buffer.data[:, :, self.index, :, :count] = prefix.data[:, :, :, :count]
        self.length, self.is_long = count, prefix.is_long


class RowPrefix(NamedTuple):
    """A copy of the first positions of a row. `data` [layers, 2, G, count, K]."""

    data: torch.Tensor
    is_long: bool


class RowCache:
    """A KVCache. `rows`: of running sequences, by index; private sequences have a buffer of their own."""

    def __init__(self, shape: CacheShape) -> None:
        self._shape = shape
        self.buffer = RowBuffer(shape)
        self.rows: list[Row] = []

    def allocate(self, tokens: int, prefix: tuple[RowPrefix, int] | None, *, private: bool) -> Row:
        row = Row(RowBuffer(self._shape), 0) if private else Row(self.buffer, len(self.rows))
        row.buffer.reserve(row.index + 1, tokens + 1)
        if prefix:
            row.write(*prefix)
        if not private:
            self.rows.append(row)
        return row

    def free(self, handle: Row) -> None:
        """Free a row; the last row moves into the gap."""
        if handle.buffer is not self.buffer:
            return
        last = self.rows.pop()
        if last is not handle:
            count = last.length
            self.buffer.data[:, :, handle.index, :, :count] = self.buffer.data[:, :, last.index, :, :count]
            last.index = handle.index
            self.rows[handle.index] = last
        if not self.rows and self.buffer.data.nbytes > _IDLE_BYTES:
            self.buffer = RowBuffer(self._shape)

    def prefix_bytes(self, handle: Row, tokens: int) -> int:
        return tokens * self._shape.token_bytes

    def save_prefix(self, handle: Row, tokens: int) -> RowPrefix:
        return handle.read(tokens)

    def release_prefix(self, prefix: RowPrefix) -> None:
        """Prefixes are copies; the garbage collector frees them."""

    def required_bytes(self, lengths: Sequence[int]) -> int:
        """Rows are as long as the longest sequence may become."""
        return len(lengths) * max(lengths, default=0) * self._shape.token_bytes


def round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
