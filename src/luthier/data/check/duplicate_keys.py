"""Equal keys among millions: which positions of an array hold the same key."""

import numpy as np
import numpy.typing as npt

Pairs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
Keys = npt.NDArray[np.uint64]

_CHUNK = 65_536  # keys per look-up, which bounds the temporary memory


class DuplicateKeys:
    """The positions of keys that occur more than once, grouped by key; ascending within a group."""

    def __init__(self, keys: Keys) -> None:
        positions = np.flatnonzero(_is_repeated(keys)).astype(np.int32)
        self._order = positions[np.argsort(keys[positions], kind="stable")]
        self._keys = keys[self._order]

    def pairs_with_previous(self) -> Pairs:
        """(previous, this): each repeated position, with the closest position before it that has the same key."""
        same = self._keys[1:] == self._keys[:-1]
        return self._order[:-1][same], self._order[1:][same]

    def pairs_with_first(self) -> Pairs:
        """(first, this): each repeated position, ascending, with the first position that has the same key."""
        begins = np.flatnonzero(np.concatenate([[True], self._keys[1:] != self._keys[:-1]])[: len(self._order)])
        firsts = np.repeat(self._order[begins], np.diff(begins, append=len(self._order)))
        is_later = firsts != self._order
        firsts, laters = firsts[is_later], self._order[is_later]
        ascending = np.argsort(laters).astype(np.int32)
        return firsts[ascending], laters[ascending]


def pairs_with_first(keys: Keys) -> Pairs:
    """(first, this): each repeated position, ascending, with the first position that has the same key."""
    return DuplicateKeys(keys).pairs_with_first()


def _is_repeated(keys: Keys) -> npt.NDArray[np.bool_]:
    """Whether each key occurs more than once. Sorting the keys is several times as fast as an argsort of all of them,
    and few keys are equal.
    """
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    repeated = repeated[np.concatenate([[True], repeated[1:] != repeated[:-1]])[: len(repeated)]]
    is_repeated = np.zeros(len(keys), np.bool_)
    for start in range(0, len(keys) if repeated.size else 0, _CHUNK):
        chunk = keys[start : start + _CHUNK]
        index = np.minimum(np.searchsorted(repeated, chunk), len(repeated) - 1)
        is_repeated[start : start + _CHUNK] = repeated[index] == chunk
    return is_repeated
