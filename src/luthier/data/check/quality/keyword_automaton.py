"""Which of many texts hold one of many words, told by one pass over all of them at once.

The words make one automaton (Aho and Corasick 1975), so their number costs nothing. They come in groups, for askers
that ask about the same texts: each is told about its own.
"""

from collections.abc import Iterable

import ahocorasick_rs
import numpy as np

from luthier.data.check.quality.columns import Joined


class Alarm:
    """For groups of words that are not empty."""

    def __init__(self, *groups: Iterable[str]) -> None:
        words: dict[bytes, set[int]] = {}
        for number, group in enumerate(groups):
            for word in group:
                words.setdefault(word.encode(), set()).add(number)
        self._of = np.array([[number in of for number in range(len(groups))] for of in words.values()])
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            list(words),
            matchkind=ahocorasick_rs.MatchKind.Standard,
            implementation=ahocorasick_rs.Implementation.DFA,
        )
        self._last: tuple[Joined | None, list[set[int]]] = None, []

    def places(self, joined: Joined, group: int = 0) -> set[int]:
        """The texts that hold a word of the group."""
        if self._last[0] is not joined:
            found = np.array(
                self._automaton.find_matches_as_indexes(joined.raw, overlapping=True), dtype=np.intp
            ).reshape(-1, 3)
            self._last = joined, [joined.raw_holders(found[of, 1]) for of in self._of[found[:, 0]].T]
        return self._last[1][group]
