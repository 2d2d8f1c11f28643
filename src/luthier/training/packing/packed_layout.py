"""The layout of a packed row: which tokens attend to which.

A token attends to its own segment up to itself, and to every segment above it in the prefix tree.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from luthier.training.packing.prefix_tree import Forest, Segment

# Segments of similar length are one padded batch, as long as padding is at most this fraction of it and the batch has
# no more tokens than that: the scores of attention, block by block, then stay in a CPU's cache.
_MAX_PADDING = 0.3
_MAX_TOKENS = 512
_QUERIES = 128  # of a block


class SegmentGroup:
    """Segments as one padded batch: N segments, L the longest. A single segment is a slice of the row."""

    def __init__(self, members: list[Segment], device: torch.device) -> None:
        self.count, self.longest = len(members), members[-1].length
        self._slice = slice(members[0].start, members[0].stop) if self.count == 1 else None
        if self._slice:
            return
        slots = torch.cat(
            [torch.arange(segment.length) + index * self.longest for index, segment in enumerate(members)]
        )
        rows = torch.cat([torch.arange(segment.start, segment.stop) for segment in members])
        row_of_slot = torch.full((self.count * self.longest,), members[0].start)
        row_of_slot[slots] = rows
        empty = torch.ones(len(row_of_slot), dtype=torch.bool)
        empty[slots] = False
        padding = empty.nonzero()[:, 0]
        self._row_of_slot, self._slots, self._rows, self._padding = (
            indices.to(device) for indices in (row_of_slot, slots, rows, padding)
        )

    def gather(self, rows: torch.Tensor, padding: float | None = None) -> torch.Tensor:
        """[T, ...] -> [N, L, ...]; padding is filled with `padding`, or undefined."""
        if self._slice:
            return rows[None, self._slice]
        padded = rows.index_select(0, self._row_of_slot)
        if padding is not None:
            padded.index_fill_(0, self._padding, padding)
        return padded.view(self.count, self.longest, *rows.shape[1:])

    def scatter(self, padded: torch.Tensor, rows: torch.Tensor) -> None:
        """Writes [N, L, ...] to its rows of [T, ...], in the dtype of `rows`."""
        if self._slice:
            rows[self._slice] = padded[0]
        else:
            rows.index_copy_(0, self._rows, padded.flatten(0, 1).index_select(0, self._slots).to(rows.dtype))


class Layout:
    """`positions` int [T]. `above`: for each shared segment its rows, and those of its descendants, as slices.

    `segments` int64 [S, 4], as the kernels read them: start, stop, the end of its descendants, and the index of its
    parent segment, -1 without one. `longest`: tokens of the longest example.
    """

    def __init__(self, forest: Forest, device: torch.device) -> None:
        segments = forest.segments
        positions = [torch.arange(segment.position, segment.position + segment.length) for segment in segments]
        # Blocks are computed on the CPU, since the number of keys of a block would require waiting for a GPU.
        self._positions = torch.cat(positions)
        self.positions = self._positions.to(device)
        self.longest = max(segment.position + segment.length for segment in segments)
        self.segments = torch.tensor([(s.start, s.stop, s.end, parent) for s, parent in _with_parents(segments)])
        # For each token, the end of its segment's descendants.
        self._ends = torch.cat([torch.full((segment.length,), segment.end) for segment in segments])
        self._blocks = dict[int | None, list[QueryBlock]]()
        self.groups = [SegmentGroup(members, device) for members in _by_length(segments)]
        self.above = [
            (slice(segment.start, segment.stop), slice(segment.stop, segment.end))
            for segment in segments
            if segment.end > segment.stop
        ]

    def blocks(self, window: int | None) -> list["QueryBlock"]:
        """The row in blocks of queries, for attention that reaches back `window` tokens, or all for None."""
        if window not in self._blocks:
            count = len(self.positions)
            slices = [slice(start, min(start + _QUERIES, count)) for start in range(0, count, _QUERIES)]
            self._blocks[window] = [self._block(rows, window) for rows in slices]
        return self._blocks[window]

    def _block(self, rows: slice, window: int | None) -> "QueryBlock":
        queries = torch.arange(rows.start, rows.stop)[:, None]
        visible = torch.arange(rows.stop) <= queries
        visible &= queries < self._ends[: rows.stop]
        if window:
            visible &= self._positions[rows, None] - self._positions[: rows.stop] < window
        keys, device = visible.any(0).nonzero()[:, 0], self.positions.device
        return QueryBlock(rows, keys.to(device), ~visible[:, keys].to(device))


class QueryBlock(NamedTuple):
    """`rows`: of Q queries; `keys` int [J]: rows that one of them attends to; `hidden` bool [Q, J]: the others."""

    rows: slice
    keys: torch.Tensor
    hidden: torch.Tensor


def _with_parents(segments: list[Segment]) -> Iterator[tuple[Segment, int]]:
    """Each segment with the index of its parent: depth first, so the parent is the last segment that has not ended."""
    open_: list[int] = []
    for index, segment in enumerate(segments):
        while open_ and segments[open_[-1]].end <= segment.start:
            open_.pop()
        yield segment, open_[-1] if open_ else -1
        open_.append(index)


def _by_length(segments: list[Segment]) -> list[list[Segment]]:
    """Groups segments of similar length."""
    groups: list[list[Segment]] = []
    tokens = 0
    for segment in sorted(segments, key=lambda segment: segment.length):
        padded = segment.length * (len(groups[-1]) + 1) if groups else 0
        if not groups or padded - tokens - segment.length > _MAX_PADDING * padded or padded > _MAX_TOKENS:
            groups.append([])
            tokens = 0
        groups[-1].append(segment)
        tokens += segment.length
    return groups
