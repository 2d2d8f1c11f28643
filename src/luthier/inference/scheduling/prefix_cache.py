"""Prefix caching: keys and values of computed sequences, looked up by the beginning of a prompt; LRU eviction.

Works on token ids and opaque prefixes of a KVCache.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

MIN_PREFIX_TOKENS = 16  # recomputing shorter prefixes is faster than reusing them

Prefix = TypeVar("Prefix")


@dataclass(frozen=True, eq=False)
class _Entry(Generic[Prefix]):
    adapter: Path | None
    token_ids: np.ndarray
    prefix: Prefix
    size: int


class PrefixCache(Generic[Prefix]):
    """Entries per adapter, at most `max_bytes` in total; 0 disables caching."""

    def __init__(self, max_bytes: int, release: Callable[[Prefix], None] = lambda _: None) -> None:
        """`release` is called with each evicted prefix."""
        self._max_bytes, self._release = max_bytes, release
        self._entries: list[_Entry[Prefix]] = []  # least recently used first

    @property
    def enabled(self) -> bool:
        return self._max_bytes > 0

    def find(self, adapter: Path | None, token_ids: Sequence[int]) -> tuple[Prefix, int] | None:
        """The entry with the longest common prefix and its length; the last two tokens are always computed."""
        prompt = np.asarray(token_ids[:-2], dtype=np.int32)
        best, longest = None, MIN_PREFIX_TOKENS - 1
        for entry in self._entries:
            if entry.adapter == adapter and (count := common_length(entry.token_ids, prompt)) > longest:
                best, longest = entry, count
        if best is None:
            return None
        self._entries.remove(best)
        self._entries.append(best)
        return best.prefix, longest

    def store(self, adapter: Path | None, token_ids: Sequence[int], size: int, save: Callable[[], Prefix]) -> None:
        """Adds an entry of `size` bytes unless another covers it; entries that it covers are evicted."""
        prompt = np.asarray(token_ids, dtype=np.int32)
        if not self.enabled or len(prompt) < MIN_PREFIX_TOKENS or size > self._max_bytes:
            return
        for entry in [entry for entry in self._entries if entry.adapter == adapter]:
            count = common_length(entry.token_ids, prompt)
            if count == len(prompt):
                return
            if count == len(entry.token_ids):
                self._evict(entry)
        self._entries.append(_Entry(adapter, prompt, save(), size))
        while sum(entry.size for entry in self._entries) > self._max_bytes:
            self._evict(self._entries[0])

    def _evict(self, entry: _Entry[Prefix]) -> None:
        self._entries.remove(entry)
        self._release(entry.prefix)


def common_length(first: np.ndarray, second: np.ndarray) -> int:
    """Tokens of the common prefix."""
    size = min(len(first), len(second))
    differences = np.nonzero(first[:size] != second[:size])[0]
    return int(differences[0]) if len(differences) else size
