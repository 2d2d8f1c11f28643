"""A KVCache over a block pool: handles and prefixes are block tables, prefixes share blocks."""

from collections.abc import Sequence

from luthier.inference.memory.block_pool import BlockPool

_IDLE_BYTES = 1 << 27  # memory that stays reserved while no sequence runs


class PagedCache:
    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool

    def allocate(self, tokens: int, prefix: tuple[list[int], int] | None, *, private: bool) -> list[int]:
        """Blocks for new tokens follow when the runner writes them, see `BlockPool.extend`."""
        if prefix is None:
            return []
        blocks, (full, rest) = prefix[0], divmod(prefix[1], self.pool.block_size)
        last = [self.pool.copy(blocks[full])] if rest else []
        return self.pool.share(blocks[:full]) + last

    def free(self, handle: list[int]) -> None:
        self.pool.free(handle)
        self.pool.trim(_IDLE_BYTES)

    def prefix_bytes(self, handle: list[int], tokens: int) -> int:
        return len(handle[: self.pool.blocks_for(tokens)]) * self.pool.block_bytes

    def save_prefix(self, handle: list[int], tokens: int) -> list[int]:
        return self.pool.share(handle[: self.pool.blocks_for(tokens)])

    def release_prefix(self, prefix: list[int]) -> None:
        self.pool.free(prefix)

    def required_bytes(self, lengths: Sequence[int]) -> int:
        return sum(map(self.pool.blocks_for, lengths)) * self.pool.block_bytes
