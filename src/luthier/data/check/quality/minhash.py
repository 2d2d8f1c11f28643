"""Small fingerprints by which texts that are nearly the same can be told without keeping the texts.

Every three characters in a row are hashed; the hashes are dealt into bins, and the smallest of each bin is kept, cut
to one byte: the share of bins that two texts have in common estimates the Jaccard similarity of their trigrams (one
permutation hashing; Li, Owen and Zhang 2012). All texts of a batch are worked on at once. Case, spaces and
punctuation do not count. Knows nothing of examples.
"""

import unicodedata
from functools import cache, reduce

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.columns import SEPARATOR

BINS = 32
BANDS = 4  # each made of two minima, of a part of the bins each
_HEAD, _TAIL = 400, 200  # of a long text, these characters count
_NONE = np.uint32(0xFFFFFFFF)
_END = 1

Sketches = npt.NDArray[np.uint8]  # [texts, BINS]
Bands = npt.NDArray[np.uint32]  # [texts, BANDS]: texts that share a band may be alike


def sketch(texts: list[str]) -> tuple[Sketches, Bands]:
    """Fingerprints of texts. One with fewer than three letters or digits has a sketch of its own: all bins empty."""
    cut = [text if len(text) <= _HEAD + _TAIL else text[:_HEAD] + text[-_TAIL:] for text in texts]
    joined = SEPARATOR.join(cut) + SEPARATOR
    if joined.count(SEPARATOR) != len(cut):  # it may stand in a text, where it does not count
        joined = SEPARATOR.join([text.replace(SEPARATOR, " ") for text in cut]) + SEPARATOR
    codes = _folded(joined)
    ends = np.flatnonzero(codes == _END)
    hashes = codes[:-2] * np.uint32(0x01000193)
    hashes += codes[1:-1] * np.uint32(0x85EBCA6B)
    hashes += codes[2:] * np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x2C1B3C6D)
    cells = np.repeat(np.arange(len(texts)) * BINS, np.diff(ends, prepend=-1))[:-2]
    cells += hashes & np.uint32(BINS - 1)  # the bin is the low bits' choice, the rank within it the high bits'
    hashes |= np.uint32(BINS - 1)
    for reach in range(3):  # what spans two texts belongs to neither
        crossed = ends - reach
        hashes[crossed[(crossed >= 0) & (crossed < len(hashes))]] = _NONE
    bins = np.full(len(texts) * BINS, _NONE)
    np.minimum.at(bins, cells, hashes)
    table = bins.reshape(len(texts), BINS)
    quarters = [table[:, start :: BINS // (2 * BANDS)] for start in range(BINS // (2 * BANDS))]
    wide = reduce(np.minimum, quarters)  # [texts, 2 * BANDS]
    bands = wide[:, 0::2] * np.uint32(0x85EBCA6B) ^ wide[:, 1::2]
    kept = np.maximum((table >> 8).astype(np.uint8), 1)
    kept[table == _NONE] = 0
    return kept, bands


def similarity(left: Sketches, right: Sketches) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity, row by row; 0 where both are empty."""
    filled = (left | right) != 0
    shared: npt.NDArray[np.float64] = ((left == right) & filled).sum(axis=1) / np.maximum(filled.sum(axis=1), 1)
    return shared


def _folded(text: str) -> npt.NDArray[np.uint32]:
    """The characters that count, each as the one that stands for it, and `_END` after each text."""
    if text.isascii():
        table, others = _ascii()
        return np.frombuffer(text.encode().translate(table, others), dtype=np.uint8).astype(np.uint32)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if int(codes.max()) > 0xFFFF:
        folded = np.where(codes > 0xFFFF, codes, _folding()[np.minimum(codes, 0xFFFF)])
    else:
        folded = _folding()[codes]
    kept: npt.NDArray[np.uint32] = folded[folded != 0]
    return kept


@cache
def _folding() -> npt.NDArray[np.uint32]:
    """For each character of the basic plane: the one that stands for it, 0 for spaces and punctuation."""
    table = np.zeros(0x10000, dtype=np.uint32)
    for code in range(1, 0x10000):
        folded = unicodedata.normalize("NFKC", chr(code)).casefold()[:1]
        table[code] = ord(folded) if folded.isalnum() else 0
    table[ord(SEPARATOR)] = _END
    return table


@cache
def _ascii() -> tuple[bytes, bytes]:
    """The same for ASCII, as `bytes.translate` takes it: what stands for each, and what is left out."""
    table = _folding()[:128]
    others = bytes(code for code in range(128) if table[code] == 0)
    return bytes(table.astype(np.uint8)) + bytes(128), others
