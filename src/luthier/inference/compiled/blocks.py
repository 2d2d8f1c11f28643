"""Keys and values in blocks of some tokens each, which several texts may share.

A text is the list of its blocks. Blocks are counted: whoever holds one has taken or shared it, and releases it. Only
the last block of a text is ever written to, and only by one; who wants to go on from inside a block copies it. The
first block is nobody's: what is written there is not wanted.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov

TOKENS = 32  # of a block: what OpenVINO's paged attention has on processors
NOBODYS = 0
_FIRST = 64  # blocks


class Blocks:
    """`tensors`: the memory of each cache, [blocks, ...]; `moves`: how often it became another."""

    moves = 0

    def __init__(self, caches: Sequence[Any]) -> None:
        """`caches`: the inputs of the compiled graph that they are for."""
        self._shapes = {
            cache.any_name: (cache.element_type, [part.get_length() for part in list(cache.partial_shape)[1:]])
            for cache in caches
        }
        self.block_bytes = sum(kind.size * int(np.prod(shape)) for kind, shape in self._shapes.values())
        self._clear()

    def take(self, count: int) -> list[int]:
        """Blocks that nobody holds, with no meaning yet."""
        while len(self._free) < count:
            self._grow(max(_FIRST, 2 * len(self._held)))
        taken = [heapq.heappop(self._free) for _ in range(count)]
        return self.share(taken)

    def share(self, blocks: Sequence[int]) -> list[int]:
        for block in blocks:
            self._held[block] += 1
        return list(blocks)

    def release(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self._held[block] -= 1
            if not self._held[block]:
                heapq.heappush(self._free, block)

    def copy(self, block: int) -> int:
        (new,) = self.take(1)
        for data in self._data.values():
            data[new] = data[block]
        return new

    def extended(self, blocks: list[int], tokens: int) -> None:
        """Room for so many tokens in a text."""
        blocks += self.take(max(0, -(-tokens // TOKENS) - len(blocks)))

    def forget(self, more_than: int) -> None:
        """Gives memory back when nobody holds a block and it is more than so many bytes."""
        if len(self._free) == len(self._held) - 1 and len(self._held) * self.block_bytes > more_than:
            self._clear()

    def _clear(self) -> None:
        self._held: list[int] = []
        self._free: list[int] = []
        self._data: dict[str, np.ndarray] = {}
        self.tensors: dict[str, ov.Tensor] = {}
        self._grow(_FIRST)
        self._free.remove(NOBODYS)
        heapq.heapify(self._free)

    def _grow(self, count: int) -> None:
        """To so many blocks. Memory that was never written to is not taken from the system yet."""
        have = len(self._held)
        for name, (kind, shape) in self._shapes.items():
            data = np.zeros([count, *shape], {2: np.int16, 4: np.float32}[kind.size])
            if have:
                data[:have] = self._data[name]
            self._data[name] = data
            self.tensors[name] = ov.Tensor(data, list(data.shape), kind)
        self.moves += 1
        self._held += [0] * (count - have)
        for block in range(have, count):
            heapq.heappush(self._free, block)
