"""Groups of examples → sides, so that each side has its share of every stratum and no group is torn apart.

Knows numbers only: a group and a stratum for each example, and shares. The seed alone decides among equals.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Places = npt.NDArray[np.signedinteger[Any]]


def components(count: int, pairs: tuple[_Places, _Places]) -> list[int]:
    """For each of `count` things the least of those that the pairs connect it with, itself included."""
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for left, right in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
        one, other = sorted((root(left), root(right)))
        parent[other] = one
    return [root(one) for one in range(count)]


def deal(groups: Sequence[int], strata: Sequence[str], shares: Sequence[float], seed: int) -> list[int]:
    """The side of each example, from 0; side 0 takes what the other `shares` leave.

    A group goes to one side whole, by the stratum of most of its examples. What a stratum is too small to give is
    carried over to the next. Every side gets something as long as there are groups enough.
    """
    sizes = Counter(groups)
    order = _shuffled(sizes, seed)
    of_stratum: dict[str, list[int]] = defaultdict(list)
    stratum = _stratum_of(groups, strata)
    for group in order:
        of_stratum[stratum[group]].append(group)
    owed = [0.0] * len(shares)
    side: dict[int, int] = {}
    for name in sorted(of_stratum, key=lambda one: (len(of_stratum[one]), one)):
        members = of_stratum[name]
        total = sum(sizes[group] for group in members)
        owed = [debt + share * total for debt, share in zip(owed, shares, strict=True)]
        for group in sorted(members, key=lambda one: -sizes[one]):
            choice = max(range(len(shares)), key=lambda one: (owed[one], -one))
            side[group] = choice
            owed[choice] -= sizes[group]
    _fill_empty(side, order, sizes, shares)
    return [side[group] for group in groups]


def _shuffled(sizes: Counter[int], seed: int) -> list[int]:
    """The groups in the seed's order, the same on every machine."""
    key = str(seed).encode()
    return sorted(sizes, key=lambda group: hashlib.blake2b(str(group).encode(), key=key).digest())


def _stratum_of(groups: Sequence[int], strata: Sequence[str]) -> dict[int, str]:
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        votes[group][stratum] += 1
    return {group: min(counts, key=lambda one: (-counts[one], one)) for group, counts in votes.items()}


def _fill_empty(side: dict[int, int], order: list[int], sizes: Counter[int], shares: Sequence[float]) -> None:
    """A side that was promised something and got nothing takes the smallest group of the fullest side."""
    for empty in range(len(shares)):
        taken = Counter(side.values())
        if taken[empty] or not shares[empty]:
            continue
        donor, groups = taken.most_common(1)[0] if taken else (0, 0)
        if groups > 1:
            smallest = min((group for group in order if side[group] == donor), key=lambda group: sizes[group])
            side[smallest] = empty
