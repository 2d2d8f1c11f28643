"""Keys and values in blocks of some tokens each, which several texts may share.

A text is the list of its blocks. Blocks are counted: whoever holds one has taken or shared it, and releases it. Only
the last block of a text is ever written to, and only by one; who wants to go on from inside a block copies it. The
first block is nobody's: what is written there is not wanted.
"""

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

NOBODYS = 0
_FIRST_TOKENS = 2048
_LINE = 64  # bytes


class Blocks:
    """`data`: the memory of each cache, [blocks, ...]; `moves`: how often it became another."""

    moves = 0

    def __init__(self, tokens: int, shapes: Mapping[str, Sequence[int]], itemsize: int) -> None:
        """`tokens` of a block; for each cache the shape of a block, whose numbers have `itemsize` bytes, 2 or 4."""
        self.tokens, self._shapes = tokens, shapes
        self._kind = {2: np.int16, 4: np.float32}[itemsize]
        self.block_bytes = sum(itemsize * int(np.prod(shape)) for shape in shapes.values())
        self._first = _FIRST_TOKENS // tokens
        self._clear()

    def take(self, count: int) -> list[int]:
        """Blocks that nobody holds, with no meaning yet."""
        while len(self._free) < count:
            self._grow(max(self._first, 2 * len(self._held)))
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
        for data in self.data.values():
            data[new] = data[block]
        return new

    def extended(self, blocks: list[int], tokens: int) -> None:
        """Room for so many tokens in a text."""
        blocks += self.take(max(0, -(-tokens // self.tokens) - len(blocks)))

    def forget(self, more_than: int) -> None:
        """Gives memory back when nobody holds a block and it is more than so many bytes."""
        if len(self._free) == len(self._held) - 1 and len(self._held) * self.block_bytes > more_than:
            self._clear()

    def _clear(self) -> None:
        self._held: list[int] = []
        self._free: list[int] = []
        self.data: dict[str, np.ndarray] = {}
        self._grow(self._first)

    def _grow(self, count: int) -> None:
        """To so many blocks, or not at all. Memory that was never written to is not taken from the system yet."""
        have = len(self._held)
        made = {name: _aligned((count, *shape), self._kind) for name, shape in self._shapes.items()}
        for name, data in made.items():
            if have:
                data[:have] = self.data[name]
        self.data = made
        self.moves += 1
        self._held += [0] * (count - have)
        for block in range(have, count):
            if block != NOBODYS:
                heapq.heappush(self._free, block)


def _aligned(shape: tuple[int, ...], kind: type) -> np.ndarray:
    """Zeros that begin where a line of the processor's cache does."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    room = np.zeros(size + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    return room[start : start + size].view(kind).reshape(shape)
