"""The numbers in a text as one hash, equal for texts with the same numbers in the same order."""

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.joined_texts import JoinedTexts

_MULTIPLIER_1, _MULTIPLIER_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_FIRST_NON_ASCII_DIGIT = 0x660


def number_fingerprints(texts: list[str]) -> npt.NDArray[np.uint64]:
    """uint64 [texts]: one hash per text; 0 for a text without a digit."""
    hashes = np.zeros(len(texts), dtype=np.uint64)
    joined = JoinedTexts(texts)
    positions = np.flatnonzero(_is_digit(joined.code_points))
    if not positions.size:
        return hashes
    begins_number = np.diff(positions, prepend=-2) != 1
    text = np.searchsorted(joined.starts, positions, side="right") - 1
    firsts = np.flatnonzero(np.diff(text, prepend=-1))
    order = np.arange(len(positions)) - np.repeat(firsts, np.diff(firsts, append=len(positions)))
    digit = joined.code_points[positions].astype(np.uint64) | (begins_number.astype(np.uint64) << np.uint64(31))
    mixed = (digit | (order.astype(np.uint64) << np.uint64(32))) * _MULTIPLIER_1
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MULTIPLIER_2
    hashes[text[firsts]] = np.add.reduceat(mixed ^ (mixed >> np.uint64(32)), firsts)
    return hashes


def _is_digit(code_points: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    digits = (code_points - np.uint32(ord("0"))) < 10
    # Han characters and kana include no digits, either.
    rare = np.flatnonzero((code_points >= _FIRST_NON_ASCII_DIGIT) & ((code_points - np.uint32(0x3000)) >= 0x7000))
    if rare.size:
        rare_points = code_points[rare]
        occurs = np.zeros(int(rare_points.max()) + 1, dtype=np.bool_)
        occurs[rare_points] = True
        different = np.flatnonzero(occurs)
        occurs[different] = [chr(code).isdecimal() for code in different.tolist()]
        digits[rare] = occurs[rare_points]
    return digits
