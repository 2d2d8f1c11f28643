"""Equal keys among millions: which places share one. Knows nothing of what the keys stand for."""

import numpy as np
import numpy.typing as npt

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
Keys = npt.NDArray[np.uint64]


class Repeats:
    """The places of keys that stand more than once, grouped by key; within a group in order."""

    def __init__(self, keys: Keys) -> None:
        ordered = np.sort(keys)  # values alone sort several times as fast as places, and mostly few are equal
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        del ordered
        places = np.flatnonzero(_among(keys, repeated))
        order = places[np.argsort(keys[places], kind="stable")]
        self._order, self._keys = order, keys[order]

    def with_previous(self) -> Pairs:
        """Each place with the place before it that has the same key."""
        same = self._keys[1:] == self._keys[:-1]
        return self._order[:-1][same], self._order[1:][same]

    def with_first(self) -> Pairs:
        """Each place with the first that has the same key, itself left out; in order of the places."""
        begins = np.flatnonzero(np.concatenate([[True], self._keys[1:] != self._keys[:-1]])[: len(self._order)])
        firsts = np.repeat(self._order[begins], np.diff(begins, append=len(self._order)))
        later = np.flatnonzero(firsts != self._order)
        later = later[np.argsort(self._order[later])]
        return firsts[later], self._order[later]


def with_first(keys: Keys) -> Pairs:
    """Each place with the first that has the same key, itself left out; in order of the places."""
    return Repeats(keys).with_first()


def _among(keys: Keys, some: Keys) -> npt.NDArray[np.bool_]:
    """Whether each key is one of some, which are sorted."""
    if not some.size:
        return np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(some, keys), len(some) - 1)
    result: npt.NDArray[np.bool_] = some[at] == keys
    return result
