"""64-bit hashes of sequences of texts, for many sequences at once or for a single one, with equal results.

A hash is the sum of the texts' own hashes, each weighted by the power of a constant that belongs to its position.
Hashes are comparable within one process only, as Python's hashes of strings differ between processes.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_WEIGHT, _OFFSET, _MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 2**64 - 1

Hashes = npt.NDArray[np.uint64]


def text_hashes(texts: list[str]) -> Hashes:
    """The hash of each text."""
    return np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)


def sequence_hash(hashes: Iterable[int]) -> int:
    """The hash of a sequence whose elements have these hashes; 0 for an empty sequence."""
    total, weight = 0, 1
    for element in hashes:
        total += (element + _OFFSET) * weight
        weight = weight * _WEIGHT & _MASK
    return total & _MASK


def sequence_hashes(hashes: Hashes, begins: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]) -> Hashes:
    """uint64 [sequences]: the hash of each sequence `hashes[begin:end]`."""
    weights, inverses = _weights(1 << len(hashes).bit_length())
    totals = np.zeros(len(hashes) + 1, np.uint64)
    np.cumsum((hashes + np.uint64(_OFFSET)) * weights[: len(hashes)], out=totals[1:])  # it wraps around
    result: Hashes = (totals[ends] - totals[begins]) * inverses[begins]
    return result


@lru_cache(maxsize=4)
def _weights(count: int) -> tuple[Hashes, Hashes]:
    """uint64 [count] each: the powers of the weight from exponent 0 on, and their inverses modulo 2**64."""
    tables = []
    for base in (_WEIGHT, pow(_WEIGHT, -1, 2**64)):
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        tables.append(np.cumprod(factors))
    return tables[0], tables[1]
