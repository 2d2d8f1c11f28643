"""Assigns groups of examples to sides, so that each side has its share of every stratum and no group is divided.

Works on numbers only: the group and the stratum of each example, and the shares. The seed breaks ties.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_CLASSES = 50  # distinct labels or system prompts; more are texts, not classes
_Indices = npt.NDArray[np.signedinteger[Any]]


def connected_components(count: int, pairs: tuple[_Indices, _Indices]) -> list[int]:
    """For each of `count` nodes, the smallest node of its component; `pairs` are the edges."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
        smaller, larger = sorted((root(left), root(right)))
        parent[larger] = smaller
    return [root(node) for node in range(count)]


def assign(groups: Sequence[int], strata: Sequence[str], shares: Sequence[float], seed: int) -> list[int]:
    """The side of each example, from 0; `shares` has one share per side.

    A group belongs to one side, and to the stratum of most of its examples. What a small stratum cannot give to a side
    is carried over to the next stratum. If there are enough groups, every side has examples of each stratum, and no
    side is empty. Where there are not, the first side, on which a model is trained, has each stratum of several
    examples, if other groups can take their place.
    """
    sizes = Counter(groups)
    order = _shuffled(sizes, seed)
    members: dict[str, list[int]] = defaultdict(list)
    stratum_of = _majority_strata(groups, strata)
    for group in order:
        members[stratum_of[group]].append(group)
    deficit = [0.0] * len(shares)
    side_of: dict[int, int] = {}
    for stratum in sorted(members, key=lambda name: (len(members[name]), name)):
        total = sum(sizes[group] for group in members[stratum])
        deficit = [missing + share * total for missing, share in zip(deficit, shares, strict=True)]
        for group in sorted(members[stratum], key=lambda group: -sizes[group]):
            side = max(range(len(shares)), key=lambda side: (deficit[side], -side))
            side_of[group] = side
            deficit[side] -= sizes[group]
    _spread_strata(side_of, members, sizes, shares)
    _fill_empty_sides(side_of, order, sizes, shares)
    side_of = _with_all_trained(side_of, groups_of_classes(groups, strata), sizes, shares)
    return [side_of[group] for group in groups]


def groups_of_classes(groups: Sequence[int], strata: Sequence[str]) -> dict[str, set[int]]:
    """For each stratum of several examples, the groups that have any of them; {} if there are more strata than a file
    has classes: they are texts.
    """
    counts = Counter(strata)
    holders: dict[str, set[int]] = defaultdict(set)
    for group, stratum in zip(groups, strata, strict=True):
        if counts[stratum] > 1 and len(counts) <= MAX_CLASSES:
            holders[stratum].add(group)
    return dict(sorted(holders.items()))


def _with_all_trained(
    side_of: dict[int, int], holders: dict[str, set[int]], sizes: Counter[int], shares: Sequence[float]
) -> dict[int, int]:
    """The sides with a group of every stratum on the first one; unchanged if another side would become too small.

    Groups are exchanged for such as the first side can spare: all of their strata have other groups there.
    """
    moved_sides = dict(side_of)
    for stratum in holders:
        if any(moved_sides[group] == 0 for group in holders[stratum]):
            continue
        promoted = min(holders[stratum], key=lambda group: (sizes[group], group))
        donor, moved_sides[promoted] = moved_sides[promoted], 0
        is_empty = donor not in moved_sides.values()
        trained = {group for group, side in moved_sides.items() if side == 0}
        last_groups = [groups & trained for groups in holders.values() if len(groups & trained) == 1]
        spare = trained.difference(*last_groups, {promoted})
        replacement = min(spare, key=lambda group: (abs(sizes[group] - sizes[promoted]), group), default=None)
        if replacement is not None and (is_empty or sizes[replacement] <= 2 * sizes[promoted]):
            moved_sides[replacement] = donor
    total = sum(sizes.values())
    earlier_sizes, final_sizes = (
        [sum(sizes[group] for group, side in sides.items() if side == number) for number in range(len(shares))]
        for sides in (side_of, moved_sides)
    )
    is_large_enough = (
        size >= min(earlier_size, share * total / 2)
        for size, earlier_size, share in zip(final_sizes, earlier_sizes, shares, strict=True)
    )
    return moved_sides if all(is_large_enough) else side_of


def _spread_strata(
    side_of: dict[int, int], members: dict[str, list[int]], sizes: Counter[int], shares: Sequence[float]
) -> None:
    """Gives every side a group of each stratum that has enough groups, in exchange for one of a larger stratum."""
    sides = [side for side, share in enumerate(shares) if share]
    for stratum in sorted(members, key=lambda name: (len(members[name]), name)):
        if len(members[stratum]) < len(sides):
            continue
        for side in sides:
            counts = Counter(side_of[group] for group in members[stratum])
            if counts[side]:
                continue
            donor = max(sides, key=lambda other: counts[other])
            moved = min(
                (group for group in members[stratum] if side_of[group] == donor), key=lambda group: sizes[group]
            )
            back = _exchange(side_of, members, sizes, side, sizes[moved])
            if back is not None or _has_room(side_of, sizes, shares, side, sizes[moved]):
                side_of[moved] = side
                if back is not None:
                    side_of[back] = donor


def _exchange(
    side_of: dict[int, int], members: dict[str, list[int]], sizes: Counter[int], side: int, size: int
) -> int | None:
    """A group of about `size` examples that `side` can spare, from the stratum with the most groups there; None if that
    stratum has only one.
    """
    on_side = [[group for group in groups if side_of[group] == side] for groups in members.values()]
    largest = max(on_side, key=len, default=[])
    candidates = [group for group in largest if sizes[group] <= 2 * size] if len(largest) > 1 else []
    return min(candidates, key=lambda group: abs(sizes[group] - size), default=None)


def _has_room(side_of: dict[int, int], sizes: Counter[int], shares: Sequence[float], side: int, size: int) -> bool:
    """Whether `side`, with `size` more examples, stays within one and a half times its share."""
    count = sum(sizes[group] for group, other in side_of.items() if other == side)
    return count + size <= 1.5 * shares[side] * sum(sizes.values())


def _shuffled(sizes: Counter[int], seed: int) -> list[int]:
    """The groups in an order that depends on the seed and is the same on every machine."""
    key = str(seed).encode()
    return sorted(sizes, key=lambda group: hashlib.blake2b(str(group).encode(), key=key).digest())


def _majority_strata(groups: Sequence[int], strata: Sequence[str]) -> dict[int, str]:
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        votes[group][stratum] += 1
    return {group: min(counts, key=lambda name: (-counts[name], name)) for group, counts in votes.items()}


def _fill_empty_sides(side_of: dict[int, int], order: list[int], sizes: Counter[int], shares: Sequence[float]) -> None:
    """Moves to each side with a share and no group the smallest group of the side with the most groups."""
    for empty in range(len(shares)):
        counts = Counter(side_of.values())
        if counts[empty] or not shares[empty]:
            continue
        donor, groups = counts.most_common(1)[0] if counts else (0, 0)
        if groups > 1:
            smallest = min((group for group in order if side_of[group] == donor), key=lambda group: sizes[group])
            side_of[smallest] = empty
