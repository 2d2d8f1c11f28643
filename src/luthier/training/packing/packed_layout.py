"""Where the tokens of a packed row lie, as attention needs it.

A token attends to its own segment up to itself and to all of the segments above it; `prefixes` makes the segments.
"""

from collections.abc import Iterator

import torch

from luthier.training.packing.prefix_tree import Forest, Segment

# Segments of unlike length stand in one padded batch as long as padding takes no more than this share of it, and
# the batch no more tokens than that: what attention makes of it, block by block, then stays in a processor's cache.
_MOST_PADDING = 0.3
_MOST_TOKENS = 512


class Group:
    """Segments side by side as one padded batch: N segments, L the longest. One alone is a slice of the row."""

    def __init__(self, members: list[Segment], device: torch.device) -> None:
        self.count, self.longest = len(members), members[-1].length
        self._slice = slice(members[0].start, members[0].stop) if self.count == 1 else None
        if self._slice:
            return
        put = torch.cat([torch.arange(segment.length) + index * self.longest for index, segment in enumerate(members)])
        rows = torch.cat([torch.arange(segment.start, segment.stop) for segment in members])
        take = torch.full((self.count * self.longest,), members[0].start)
        take[put] = rows
        empty = torch.ones(len(take), dtype=torch.bool)
        empty[put] = False
        padding = empty.nonzero()[:, 0]
        self._take, self._put, self._rows, self._padding = (t.to(device) for t in (take, put, rows, padding))

    def gather(self, rows: torch.Tensor, padding: float | None = None) -> torch.Tensor:
        """[T, ...] -> [N, L, ...]; padding holds the number given, or whatever."""
        if self._slice:
            return rows[None, self._slice]
        padded = rows.index_select(0, self._take)
        if padding is not None:
            padded.index_fill_(0, self._padding, padding)
        return padded.view(self.count, self.longest, *rows.shape[1:])

    def scatter(self, padded: torch.Tensor, rows: torch.Tensor) -> None:
        """Puts [N, L, ...] where it belongs in [T, ...]; the dtype becomes that of `rows`."""
        if self._slice:
            rows[self._slice] = padded[0]
        else:
            rows.index_copy_(0, self._rows, padded.flatten(0, 1).index_select(0, self._put).to(rows.dtype))


class Layout:
    """`positions` int [T]; `above`: for each shared segment its tokens, and those of its descendants, as slices.

    `segments` int64 [S, 4], as `native` reads them: where each starts, stops, where its descendants end, and which
    segment it hangs below; -1 for none.
    """

    def __init__(self, forest: Forest, device: torch.device) -> None:
        segments = forest.segments
        positions = [torch.arange(segment.position, segment.position + segment.length) for segment in segments]
        self.positions = torch.cat(positions).to(device)
        self.longest = max(segment.position + segment.length for segment in segments)
        self.segments = torch.tensor([(s.start, s.stop, s.end, above) for s, above in _with_parents(segments)])
        self.groups = [Group(members, device) for members in _alike(segments)]
        self.above = [
            (slice(segment.start, segment.stop), slice(segment.stop, segment.end))
            for segment in segments
            if segment.end > segment.stop
        ]


def _with_parents(segments: list[Segment]) -> Iterator[tuple[Segment, int]]:
    """Segments stand depth first, so those that a segment hangs below are the last that have not ended."""
    open_: list[int] = []
    for index, segment in enumerate(segments):
        while open_ and segments[open_[-1]].end <= segment.start:
            open_.pop()
        yield segment, open_[-1] if open_ else -1
        open_.append(index)


def _alike(segments: list[Segment]) -> list[list[Segment]]:
    """Segments of like length together."""
    groups: list[list[Segment]] = []
    tokens = 0
    for segment in sorted(segments, key=lambda segment: segment.length):
        padded = segment.length * (len(groups[-1]) + 1) if groups else 0
        if not groups or padded - tokens - segment.length > _MOST_PADDING * padded or padded > _MOST_TOKENS:
            groups.append([])
            tokens = 0
        groups[-1].append(segment)
        tokens += segment.length
    return groups
