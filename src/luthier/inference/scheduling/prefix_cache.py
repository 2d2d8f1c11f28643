"""Texts that were read before: what an engine keeps of them, found again by how a prompt begins.

Knows nothing about what is kept, and nothing about tokens' meaning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

LEAST_SHARED = 16  # tokens: less is computed again sooner than taken over

Held = TypeVar("Held")


@dataclass(frozen=True, eq=False)
class _Kept(Generic[Held]):
    adapter: Path | None
    ids: np.ndarray
    data: Held
    size: int


class Texts(Generic[Held]):
    """Texts that were read before, for each adapter, longest unused first; `most_bytes` bounds them, 0 keeps none.

    `let_go`: told of what is kept no longer.
    """

    def __init__(self, most_bytes: int, let_go: Callable[[Held], None] = lambda _: None) -> None:
        self._most, self._let_go, self._kept = most_bytes, let_go, list[_Kept[Held]]()

    def find(self, adapter: Path | None, ids: Sequence[int]) -> tuple[Held, int] | None:
        """The text that begins like `ids` the longest, and how many tokens of it to take over: not the last two."""
        wanted = np.asarray(ids[:-2], dtype=np.int32)
        best, most = None, LEAST_SHARED - 1
        for kept in self._kept:
            if kept.adapter == adapter and (count := common(kept.ids, wanted)) > most:
                best, most = kept, count
        if best is None:
            return None
        self._kept.remove(best)
        self._kept.append(best)
        return best.data, most

    def keep(self, adapter: Path | None, ids: Sequence[int], size: int, hold: Callable[[], Held]) -> None:
        """A text of so many bytes, unless it is known; shorter ones that it begins with go."""
        mine = np.asarray(ids, dtype=np.int32)
        if len(mine) < LEAST_SHARED or size > self._most:
            return
        for kept in [kept for kept in self._kept if kept.adapter == adapter]:
            count = common(kept.ids, mine)
            if count == len(mine):
                return
            if count == len(kept.ids):
                self._drop(kept)
        self._kept.append(_Kept(adapter, mine, hold(), size))
        while sum(kept.size for kept in self._kept) > self._most:
            self._drop(self._kept[0])

    def _drop(self, kept: _Kept[Held]) -> None:
        self._kept.remove(kept)
        self._let_go(kept.data)


def common(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two texts begin with alike."""
    size = min(len(one), len(other))
    differ = np.nonzero(one[:size] != other[:size])[0]
    return int(differ[0]) if len(differ) else size
