"""Which tokens of a micro-batch are computed once: the examples as a forest of shared prefixes.

Examples that begin alike share a segment, and so on below it; what an example has for itself is a segment of its
own. A packed row holds the segments depth first, so the descendants of a segment follow it without a gap. Knows
nothing about models or tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# A segment of its own costs a few more calls in each layer, about as much as this many tokens.
_LEAST_SAVED_TOKENS = 32

Ids = Sequence[int] | np.ndarray


@dataclass
class Segment:
    """`length` tokens of the row from `start`; the first has position `position` in each of its examples.

    Its descendants fill the row from its own end up to `end`.
    """

    start: int
    length: int
    position: int
    end: int

    @property
    def stop(self) -> int:
        return self.start + self.length


@dataclass
class Forest:
    """`ids` int [T], the row; `places[i]` int [length of example i], where its tokens stand in the row."""

    ids: np.ndarray
    segments: list[Segment]
    places: list[np.ndarray]


def common_length(one: Ids, other: Ids) -> int:
    """Tokens that both begin with."""
    count = min(len(one), len(other))
    differs = np.nonzero(np.asarray(one[:count]) != np.asarray(other[:count]))[0]
    return int(differs[0]) if len(differs) else count


def sort_key(ids: Ids) -> bytes:
    """Sorts examples that begin alike side by side."""
    return np.asarray(ids, dtype=">u4").tobytes()


def separate(examples: Sequence[Ids]) -> Forest:
    """One segment per example: nothing is shared."""
    return _Grower(examples).grow(share=False)


def shared(examples: Sequence[Ids]) -> Forest:
    """Common prefixes once, wherever that saves more than it costs."""
    return _Grower(examples).grow(share=True)


class _Grower:
    def __init__(self, examples: Sequence[Ids]) -> None:
        self._examples = [np.asarray(ids) for ids in examples]
        self._order = list(range(len(examples)))
        self._row: list[np.ndarray] = []
        self._length = 0
        self._segments: list[Segment] = []
        self._places: list[list[np.ndarray]] = [[] for _ in examples]

    def grow(self, *, share: bool) -> Forest:
        if share:
            self._order.sort(key=lambda index: sort_key(self._examples[index]))
            self._common = [
                common_length(self._examples[one], self._examples[two]) for one, two in pairwise(self._order)
            ]
            self._group(0, len(self._order), 0)
        else:
            for place in range(len(self._order)):
                self._leaf(place, 0)
        places = [np.concatenate(parts) for parts in self._places]
        return Forest(np.concatenate(self._row), self._segments, places)

    def _group(self, low: int, high: int, depth: int) -> None:
        """The examples at `low` to `high` in the order, of which the first `depth` tokens are placed."""
        if high - low == 1:
            return self._leaf(low, depth)
        common = min(self._common[low : high - 1])
        segment = None
        if (high - low - 1) * (common - depth) >= _LEAST_SAVED_TOKENS:
            segment = self._place(self._order[low:high], depth, common)
            depth = common
        start = low
        for place in range(low, high):
            if place == high - 1 or self._common[place] == common:
                self._group(start, place + 1, depth)
                start = place + 1
        if segment:
            segment.end = self._length
        return None

    def _leaf(self, place: int, depth: int) -> None:
        index = self._order[place]
        if len(self._examples[index]) > depth:
            self._place([index], depth, len(self._examples[index]))

    def _place(self, owners: list[int], since: int, until: int) -> Segment:
        segment = Segment(self._length, until - since, since, self._length + until - since)
        self._segments.append(segment)
        self._row.append(self._examples[owners[0]][since:until])
        self._length = segment.stop
        for index in owners:
            self._places[index].append(np.arange(segment.start, segment.stop))
        return segment
