"""Where the tokens of a packed row lie, as attention needs it.

A token attends to its own segment up to itself and to all of the segments above it; `prefixes` makes the segments.
"""

from dataclasses import dataclass

import torch

from luthier.training.prefixes import Forest, Segment

# Segments of unlike length stand in one padded batch as long as padding takes no more than this share of it.
_MOST_PADDING = 0.3


@dataclass(frozen=True)
class Group:
    """Segments side by side as one padded batch. N segments, L the longest, P tokens in all.

    `take` int [N * L]: the token of the row at each place of the padded batch (padding repeats the first token).
    `put` int [P]: places of the padded batch, `rows` int [P]: the tokens of the row that stand there.
    `padding` int [...]: the other places.
    """

    count: int
    longest: int
    take: torch.Tensor
    put: torch.Tensor
    rows: torch.Tensor
    padding: torch.Tensor


class Layout:
    """`positions` int [T]; `above`: for each shared segment its tokens, and those of its descendants, as slices."""

    def __init__(self, forest: Forest, device: torch.device) -> None:
        segments = forest.segments
        positions = [torch.arange(segment.position, segment.position + segment.length) for segment in segments]
        self.positions = torch.cat(positions).to(device)
        self.longest = max(segment.position + segment.length for segment in segments)
        self.groups = [_group(members, device) for members in _alike(segments)]
        self.above = [
            (slice(segment.start, segment.stop), slice(segment.stop, segment.end))
            for segment in segments
            if segment.end > segment.stop
        ]


def _alike(segments: list[Segment]) -> list[list[Segment]]:
    """Segments of like length together."""
    groups: list[list[Segment]] = []
    tokens = 0
    for segment in sorted(segments, key=lambda segment: segment.length):
        padded = segment.length * (len(groups[-1]) + 1) if groups else 0
        if not groups or padded - tokens - segment.length > _MOST_PADDING * padded:
            groups.append([])
            tokens = 0
        groups[-1].append(segment)
        tokens += segment.length
    return groups


def _group(members: list[Segment], device: torch.device) -> Group:
    count, longest = len(members), members[-1].length
    put = torch.cat([torch.arange(segment.length) + index * longest for index, segment in enumerate(members)])
    rows = torch.cat([torch.arange(segment.start, segment.stop) for segment in members])
    take = torch.full((count * longest,), members[0].start)
    take[put] = rows
    empty = torch.ones(count * longest, dtype=torch.bool)
    empty[put] = False
    padding = empty.nonzero()[:, 0]
    return Group(count, longest, *(tensor.to(device) for tensor in (take, put, rows, padding)))
