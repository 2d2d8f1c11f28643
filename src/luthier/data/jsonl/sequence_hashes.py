"""64-bit hashes of sequences of texts, for many sequences at once or for one, with equal results.

Sums of the texts' own hashes, each weighted by a power that stands for its place. They are compared within one process
only, as Python's hashes of texts differ between processes.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_WEIGHT, _OFFSET, _MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 2**64 - 1

Hashes = npt.NDArray[np.uint64]


def text_hashes(texts: list[str]) -> Hashes:
    """The hash of each text."""
    return np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)


def sequence_hash(hashes: Iterable[int]) -> int:
    """One hash of a sequence whose elements have these hashes; 0 for an empty one."""
    total, weight = 0, 1
    for element in hashes:
        total += (element + _OFFSET) * weight
        weight = weight * _WEIGHT & _MASK
    return total & _MASK


def sequence_hashes(hashes: Hashes, begins: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> Hashes:
    """One hash for each of the sequences `hashes[begin:end]`, which do not overlap and come in order."""
    sizes = ends - begins
    starts = np.cumsum(sizes) - sizes  # of each sequence among the elements of all
    place = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
    factors = np.full(int(sizes.max(initial=1)), _WEIGHT, np.uint64)
    factors[0] = 1
    weights = np.cumprod(factors)
    weighted = (hashes[place + np.repeat(begins, sizes)] + np.uint64(_OFFSET)) * weights[place]
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(weighted)])  # they wrap around, as do differences
    result: Hashes = totals[starts + sizes] - totals[starts]
    return result
