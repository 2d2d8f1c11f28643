"""Shared prefixes of a micro-batch as a forest: their tokens are computed once.

Examples with a common prefix share a segment, and recursively below it; the rest of an example is a segment of its
own. A packed row holds the segments depth first, so the descendants of a segment follow it without a gap. Pure token
ids: independent of models and tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# An additional segment costs a few more calls in each layer, about as much as this many tokens.
_MIN_SAVED_TOKENS = 32

Ids = Sequence[int] | np.ndarray


@dataclass
class Segment:
    """`length` tokens of the row from `start`; the first is at `position` in each of its examples.

    Its descendants fill the row from `stop` to `end`.
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
    """`ids` int [T], the packed row; `places[i]` int [length of example i]: the row indices of its tokens."""

    ids: np.ndarray
    segments: list[Segment]
    places: list[np.ndarray]


def common_length(left: Ids, right: Ids) -> int:
    """Tokens of the common prefix."""
    count = min(len(left), len(right))
    differs = np.nonzero(np.asarray(left[:count]) != np.asarray(right[:count]))[0]
    return int(differs[0]) if len(differs) else count


def sort_key(ids: Ids) -> bytes:
    """Orders examples so that those with a common prefix are neighbours."""
    return np.asarray(ids, dtype=">u4").tobytes()


def separate(examples: Sequence[Ids]) -> Forest:
    """One segment per example: nothing is shared."""
    return _ForestBuilder(examples).build(share=False)


def shared(examples: Sequence[Ids]) -> Forest:
    """A row with common prefixes only once, wherever that saves more than it costs."""
    return _ForestBuilder(examples).build(share=True)


class _ForestBuilder:
    def __init__(self, examples: Sequence[Ids]) -> None:
        self._examples = [np.asarray(ids) for ids in examples]
        self._order = list(range(len(examples)))
        self._common: list[int] = []  # prefix lengths of neighbours in the order
        self._row: list[np.ndarray] = []
        self._length = 0
        self._segments: list[Segment] = []
        self._places: list[list[np.ndarray]] = [[] for _ in examples]

    def build(self, *, share: bool) -> Forest:
        if share:
            self._order.sort(key=lambda index: sort_key(self._examples[index]))
            self._common = [
                common_length(self._examples[left], self._examples[right]) for left, right in pairwise(self._order)
            ]
            self._add_group(0, len(self._order), 0)
        else:
            for place in range(len(self._order)):
                self._add_leaf(place, 0)
        places = [np.concatenate(parts) for parts in self._places]
        return Forest(np.concatenate(self._row), self._segments, places)

    def _add_group(self, low: int, high: int, depth: int) -> None:
        """Adds the examples `low` to `high` of the order, whose first `depth` tokens are in the row already."""
        if high - low == 1:
            return self._add_leaf(low, depth)
        common = min(self._common[low : high - 1])
        segment = None
        if (high - low - 1) * (common - depth) >= _MIN_SAVED_TOKENS:
            segment = self._add_segment(self._order[low:high], depth, common)
            depth = common
        start = low
        for place in range(low, high):
            if place == high - 1 or self._common[place] == common:
                self._add_group(start, place + 1, depth)
                start = place + 1
        if segment:
            segment.end = self._length
        return None

    def _add_leaf(self, place: int, depth: int) -> None:
        index = self._order[place]
        if len(self._examples[index]) > depth:
            self._add_segment([index], depth, len(self._examples[index]))

    def _add_segment(self, owners: list[int], start: int, stop: int) -> Segment:
        """Tokens `start` to `stop` of the examples `owners`, which share them."""
        segment = Segment(self._length, stop - start, start, self._length + stop - start)
        self._segments.append(segment)
        self._row.append(self._examples[owners[0]][start:stop])
        self._length = segment.stop
        for index in owners:
            self._places[index].append(np.arange(segment.start, segment.stop))
        return segment
