"""The interface between the scheduler and an engine's KV cache."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

Handle = TypeVar("Handle")  # a sequence's part of the cache: a block table or a row
Prefix = TypeVar("Prefix")  # keys and values of a prefix that outlives its sequence


class KVCache(Protocol[Handle, Prefix]):
    def allocate(self, tokens: int, prefix: tuple[Prefix, int] | None, *, private: bool) -> Handle:
        """A place for at least `tokens` tokens, of which `prefix` fills the first.

        `private`: the sequence never shares a pass with others. Raises MemoryError.
        """
        ...

    def free(self, handle: Handle) -> None: ...

    def prefix_bytes(self, handle: Handle, tokens: int) -> int:
        """Memory that `save_prefix` would retain."""
        ...

    def save_prefix(self, handle: Handle, tokens: int) -> Prefix:
        """The first `tokens` tokens, copied or shared."""
        ...

    def release_prefix(self, prefix: Prefix) -> None: ...

    def required_bytes(self, lengths: Sequence[int]) -> int:
        """Memory that sequences of these lengths take together."""
        ...


class NoCache:
    """A KVCache for engines that store nothing between steps."""

    def allocate(self, tokens: int, prefix: tuple[None, int] | None, *, private: bool) -> None:
        return None

    def free(self, handle: None) -> None:
        pass

    def prefix_bytes(self, handle: None, tokens: int) -> int:
        return 0

    def save_prefix(self, handle: None, tokens: int) -> None:
        return None

    def release_prefix(self, prefix: None) -> None:
        pass

    def required_bytes(self, lengths: Sequence[int]) -> int:
        return 0
