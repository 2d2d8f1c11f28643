"""The numbers that texts name, as one hash for each text: equal where the same numbers stand in the same order."""

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.columns import Joined

_ONE, _TWO = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def numerals(texts: list[str]) -> npt.NDArray[np.uint64]:
    """One hash for each text; 0 for a text without a digit."""
    hashes = np.zeros(len(texts), dtype=np.uint64)
    joined = Joined(texts)
    at = np.flatnonzero(_are_digits(joined.codes))
    if not at.size:
        return hashes
    begins = np.diff(at, prepend=-2) != 1
    text = np.searchsorted(joined.starts, at, side="right") - 1
    firsts = np.flatnonzero(np.diff(text, prepend=-1))
    order = np.arange(len(at)) - np.repeat(firsts, np.diff(firsts, append=len(at)))
    digit = joined.codes[at].astype(np.uint64) | (begins.astype(np.uint64) << np.uint64(31))
    mixed = (digit | (order.astype(np.uint64) << np.uint64(32))) * _ONE
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _TWO
    hashes[text[firsts]] = np.add.reduceat(mixed ^ (mixed >> np.uint64(32)), firsts)
    return hashes


def _are_digits(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    digits = (codes - np.uint32(ord("0"))) < 10
    rare = np.flatnonzero((codes >= _FIRST_OTHER) & ((codes - np.uint32(0x3000)) >= 0x7000))  # nor among Han and kana
    if rare.size:
        digits[rare] = _DECIMAL[np.minimum(codes[rare], len(_DECIMAL) - 1)]
    return digits


_DECIMAL = np.array([chr(code).isdecimal() for code in range(0x20000)], dtype=np.bool_)
_FIRST_OTHER = 0x660
