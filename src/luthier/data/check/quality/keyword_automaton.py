"""Finds, in one pass over many texts, those that contain one of many keywords.

The keywords form one automaton (Aho and Corasick 1975), so the time does not depend on their number. They come in
groups, one for each check that searches the same texts.
"""

from collections.abc import Iterable
from itertools import chain

import ahocorasick_rs
import numpy as np

from luthier.data.check.quality.joined_texts import JoinedTexts


class KeywordAutomaton:
    """An automaton over groups of non-empty keywords. It caches its last search, because every group is queried."""

    def __init__(self, *groups: Iterable[str]) -> None:
        words: dict[bytes, set[int]] = {}
        for number, group in enumerate(groups):
            for word in group:
                words.setdefault(word.encode(), set()).add(number)
        self._in_group = np.array([[number in numbers for number in range(len(groups))] for numbers in words.values()])
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            list(words),
            matchkind=ahocorasick_rs.MatchKind.Standard,
            implementation=ahocorasick_rs.Implementation.DFA,
        )
        self._latest_search: tuple[JoinedTexts | None, list[set[int]]] = None, []

    def texts_with(self, joined: JoinedTexts, group: int = 0) -> set[int]:
        """Indices of the texts that contain a keyword of the group."""
        if self._latest_search[0] is not joined:
            matches = self._automaton.find_matches_as_indexes(joined.utf8, overlapping=True)
            numbers = np.fromiter(chain.from_iterable(matches), np.intp, 3 * len(matches))
            words, starts, _ = numbers.reshape(-1, 3).T
            self._latest_search = joined, [joined.at_utf8(starts[is_member]) for is_member in self._in_group[words].T]
        return self._latest_search[1][group]
