"""Block pool of a paged KV cache: blocks of a fixed number of tokens, with reference counts.

A sequence's block table is the list of its blocks. Sequences with a common prefix share blocks; only the last block
of a sequence is written to, and only by its single owner, so continuing inside a shared block copies it first.
Block 0 is the null block; padding writes go there.
"""

import heapq
import mmap
from collections.abc import Mapping, Sequence

import numpy as np

NULL_BLOCK = 0
_INITIAL_TOKENS = 2048


class BlockPool:
    """`data`: the memory of each cache tensor, [blocks, ...]; `reallocations` counts how often it moved."""

    reallocations = 0

    def __init__(self, block_size: int, shapes: Mapping[str, Sequence[int]], itemsize: int) -> None:
        """`block_size`: tokens per block; `shapes`: of one block of each cache tensor, in elements of `itemsize` bytes
        (2 or 4).
        """
        self.block_size, self._shapes = block_size, shapes
        self._dtype = {2: np.int16, 4: np.float32}[itemsize]
        self.block_bytes = sum(itemsize * int(np.prod(shape)) for shape in shapes.values())
        self._initial_blocks = _INITIAL_TOKENS // block_size
        self._reset()

    @property
    def size(self) -> int:
        """The number of blocks, excluding the null block."""
        return len(self._ref_counts) - 1

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Free blocks with undefined contents, lowest index first; grows the pool as needed. Raises MemoryError."""
        while len(self._free) < count:
            self._grow(max(self._initial_blocks, 2 * len(self._ref_counts)))
        return self.share([heapq.heappop(self._free) for _ in range(count)])

    def share(self, blocks: Sequence[int]) -> list[int]:
        """Increments the reference counts."""
        for block in blocks:
            self._ref_counts[block] += 1
        return list(blocks)

    def free(self, blocks: Sequence[int]) -> None:
        """Decrements the reference counts."""
        for block in blocks:
            self._ref_counts[block] -= 1
            if not self._ref_counts[block]:
                heapq.heappush(self._free, block)

    def copy(self, block: int) -> int:
        (duplicate,) = self.allocate(1)
        for data in self.data.values():
            data[duplicate] = data[block]
        return duplicate

    def extend(self, block_table: list[int], tokens: int) -> None:
        """Appends blocks until the table has room for `tokens` tokens."""
        block_table += self.allocate(max(0, self.blocks_for(tokens) - len(block_table)))

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def trim(self, max_bytes: int) -> None:
        """Shrink a pool of more than `max_bytes` to its initial size if no block is in use."""
        if len(self._free) == len(self._ref_counts) - 1 and len(self._ref_counts) * self.block_bytes > max_bytes:
            self._reset()

    def _reset(self) -> None:
        self._ref_counts: list[int] = []
        self._free: list[int] = []  # a heap
        self.data: dict[str, np.ndarray] = {}
        self._grow(self._initial_blocks)

    def _grow(self, count: int) -> None:
        """Grow to `count` blocks, or not at all. The OS backs memory with pages only when it is written to."""
        old_count = len(self._ref_counts)
        grown = {name: _aligned_zeros((count, *shape), self._dtype) for name, shape in self._shapes.items()}
        for name, data in grown.items():
            if old_count:
                data[:old_count] = self.data[name]
        self.data = grown
        self.reallocations += 1
        self._ref_counts += [0] * (count - old_count)
        for block in range(old_count, count):
            if block != NULL_BLOCK:
                heapq.heappush(self._free, block)


def _aligned_zeros(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros on pages of their own, which take no memory until they are written to. Raises MemoryError.

    np.zeros may reuse memory, and then has to fill all of it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{size} bytes of KV cache") from error
    return np.frombuffer(memory, dtype).reshape(shape)
