"""Similarity of texts by their character trigrams: exactly, and by MinHash without keeping the texts.

Case, width, spaces and punctuation do not count. MinHash: every trigram is hashed; the hashes are distributed over
bins, and the smallest of each bin is kept, truncated to one byte. The share of bins that two texts have in common
estimates the Jaccard similarity of their trigrams (one permutation hashing; Li, Owen and Zhang 2012). All texts of a
batch are processed at once.
"""

import unicodedata
from functools import cache, reduce

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.joined_texts import SEPARATOR

BINS = 32
BANDS = 4  # each combines two minima, each over a part of the bins
_HEAD, _TAIL = 400, 200  # characters at the start and the end of a long text that are compared
_EMPTY = np.uint32(0xFFFFFFFF)
_TEXT_END = 1

Sketches = npt.NDArray[np.uint8]  # [texts, BINS]
Bands = npt.NDArray[np.uint32]  # [texts, BANDS]: texts that share a band may be similar


def trigrams(text: str) -> frozenset[str]:
    """The character trigrams of the whole text, folded; a text of one or two characters is its own only element."""
    plain = "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())
    return frozenset(plain[start : start + 3] for start in range(max(1, len(plain) - 2))) if plain else frozenset()


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """The number of common elements divided by that of all elements, 0 to 1; 1 for two empty sets."""
    common = len(left & right)
    return common / (len(left) + len(right) - common) if left or right else 1.0


def minhash(texts: list[str]) -> tuple[Sketches, Bands]:
    """The sketch and the bands of each text. A text with fewer than three letters or digits has only empty bins (0)."""
    cut = [text if len(text) <= _HEAD + _TAIL else text[:_HEAD] + text[-_TAIL:] for text in texts]
    joined = SEPARATOR.join(cut) + SEPARATOR
    if joined.count(SEPARATOR) != len(cut):  # a separator inside a text does not count
        joined = SEPARATOR.join([text.replace(SEPARATOR, " ") for text in cut]) + SEPARATOR
    codes = _folded(joined)
    ends = np.flatnonzero(codes == _TEXT_END)
    hashes = _trigram_hashes(codes)
    cells = np.repeat(np.arange(len(texts)) * BINS, np.diff(ends, prepend=-1))[:-2]
    cells += hashes & np.uint32(BINS - 1)  # the low bits select the bin, the high bits are the rank within it
    hashes |= np.uint32(BINS - 1)
    for offset in range(3):  # trigrams across two texts belong to neither
        crossing = ends - offset
        hashes[crossing[(crossing >= 0) & (crossing < len(hashes))]] = _EMPTY
    minima = np.full(len(texts) * BINS, _EMPTY)
    np.minimum.at(minima, cells, hashes)
    table = minima.reshape(len(texts), BINS)
    sketches = np.maximum((table >> 8).astype(np.uint8), 1) * (table != _EMPTY)
    return sketches, _bands(table)


def estimated_jaccard(left: Sketches, right: Sketches) -> npt.NDArray[np.float64]:
    """float64 [texts]: the estimated similarity of each row of `left` with that of `right`; 0 if both are empty."""
    filled = (left | right) != 0
    similarity: npt.NDArray[np.float64] = ((left == right) & filled).sum(axis=1) / np.maximum(filled.sum(axis=1), 1)
    return similarity


def _trigram_hashes(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    hashes: npt.NDArray[np.uint32] = codes[:-2] * np.uint32(0x01000193)
    hashes += codes[1:-1] * np.uint32(0x85EBCA6B)
    hashes += codes[2:] * np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x2C1B3C6D)
    return hashes


def _bands(table: npt.NDArray[np.uint32]) -> Bands:
    parts = [table[:, start :: BINS // (2 * BANDS)] for start in range(BINS // (2 * BANDS))]
    minima = reduce(np.minimum, parts)  # [texts, 2 * BANDS]
    bands: Bands = minima[:, 0::2] * np.uint32(0x85EBCA6B) ^ minima[:, 1::2]
    return bands


def _folded(text: str) -> npt.NDArray[np.uint32]:
    """The folded code points of letters and digits, with `_TEXT_END` after each text."""
    if text.isascii():
        table, ignored = _ascii_folding()
        return np.frombuffer(text.encode().translate(table, ignored), dtype=np.uint8).astype(np.uint32)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    folded = _folding().take(codes, mode="clip")  # `take` and `compress` take half the time of indexing
    if int(codes.max()) > 0xFFFF:
        folded = np.where(codes > 0xFFFF, codes, folded)
    return folded.compress(folded != 0)


@cache
def _folding() -> npt.NDArray[np.uint32]:
    """The folded code point of each character of the basic plane; 0 for spaces and punctuation."""
    table = np.zeros(0x10000, dtype=np.uint32)
    for code in range(1, 0x10000):
        folded = unicodedata.normalize("NFKC", chr(code)).casefold()[:1]
        table[code] = ord(folded) if folded.isalnum() else 0
    table[ord(SEPARATOR)] = _TEXT_END
    return table


@cache
def _ascii_folding() -> tuple[bytes, bytes]:
    """The same for ASCII, as arguments of `bytes.translate`: the table, and the bytes to delete."""
    table = _folding()[:128]
    ignored = bytes(code for code in range(128) if table[code] == 0)
    return bytes(table.astype(np.uint8)) + bytes(128), ignored
