"""Equal keys among millions: which places share one. Knows nothing of what the keys stand for."""

import numpy as np
import numpy.typing as npt

Pairs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
Keys = npt.NDArray[np.uint64]

_PIECE = 65_536  # keys looked up at once, so that a long file needs no more memory for it


class Repeats:
    """The places of keys that stand more than once, grouped by key; within a group in order."""

    def __init__(self, keys: Keys) -> None:
        places = np.flatnonzero(_repeated(keys)).astype(np.int32)
        self._order = places[np.argsort(keys[places], kind="stable")]
        self._keys = keys[self._order]

    def with_previous(self) -> Pairs:
        """Each place with the place before it that has the same key."""
        same = self._keys[1:] == self._keys[:-1]
        return self._order[:-1][same], self._order[1:][same]

    def with_first(self) -> Pairs:
        """Each place with the first that has the same key, itself left out; in order of the places."""
        begins = np.flatnonzero(np.concatenate([[True], self._keys[1:] != self._keys[:-1]])[: len(self._order)])
        firsts = np.repeat(self._order[begins], np.diff(begins, append=len(self._order)))
        is_later = firsts != self._order
        firsts, laters = firsts[is_later], self._order[is_later]
        in_order = np.argsort(laters).astype(np.int32)
        return firsts[in_order], laters[in_order]


def with_first(keys: Keys) -> Pairs:
    """Each place with the first that has the same key, itself left out; in order of the places."""
    return Repeats(keys).with_first()


def _repeated(keys: Keys) -> npt.NDArray[np.bool_]:
    """Whether each key stands more than once. Values sort several times as fast as places, and mostly few are equal."""
    ordered = np.sort(keys)
    some = ordered[1:][ordered[1:] == ordered[:-1]]
    some = some[np.concatenate([[True], some[1:] != some[:-1]])[: len(some)]]
    found = np.zeros(len(keys), np.bool_)
    for start in range(0, len(keys) if some.size else 0, _PIECE):
        piece = keys[start : start + _PIECE]
        at = np.minimum(np.searchsorted(some, piece), len(some) - 1)
        found[start : start + _PIECE] = some[at] == piece
    return found
