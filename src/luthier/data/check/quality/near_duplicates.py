"""Examples that say the same twice: near copies, one question with two answers, validation that was trained on.

An example is compared by what was asked *and* what was called: "查一下茅台的股价" and "查一下平安的股价" are two
lessons, not one. Kept of each example are some 80 bytes, never its text, and only of the first `LIMIT` examples of a
file; a finding says so where there are more. Exact copies are told elsewhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from luthier.data.check.quality.columns import Batch
from luthier.data.check.quality.minhash import BANDS, similarity, sketch
from luthier.data.check.quality.number_fingerprint import numerals
from luthier.data.findings import Finding, problem
from luthier.data.jsonl.duplicate_keys import Pairs, Repeats, with_first

LIMIT = 1_000_000
ALIKE = 0.85  # of the trigrams of two questions; estimated to within 0.05
SHORT = 40  # characters of an answer that is a label rather than a text, of which there is more than one good wording
_OPENING = 16  # characters of an answer that near copies share

_PIECE = 65_536  # pairs compared at once
_MIX = np.uint64(0x9E3779B97F4A7C15)
_Row = np.dtype(
    [
        ("line", np.uint32),
        ("number", np.uint32),
        ("short", np.bool_),
        ("asked", np.bool_),
        ("setting", np.int64),
        ("context", np.int64),
        ("end", np.int64),
        ("key", np.uint64),  # equal where calls, numbers and the opening of the answer are
        ("bands", np.uint32, (BANDS,)),
        ("sketch", np.uint8, (32,)),
    ]
)
Rows = npt.NDArray[np.void]


class Likeness:
    """Of one file. `training` has looked at the training file, if this one is to validate what it trained."""

    def __init__(self, training: "Likeness | None" = None) -> None:
        self._training = training
        self._rows: Rows = np.empty(0, _Row)
        self._filled = self._count = 0

    def look(self, batch: Batch) -> Iterable[Finding]:
        """Keeps fingerprints; all is told at the end."""
        if self._count < LIMIT and len(batch):
            if not self._filled:  # room for all; what is not filled takes no memory
                self._rows = np.empty(LIMIT + len(batch), _Row)
            kept = fingerprints(batch)[: len(self._rows) - self._filled]
            self._rows[self._filled : self._filled + len(kept)] = kept
            self._filled += len(kept)
        self._count += len(batch)
        return ()

    def finish(self) -> Iterator[Finding]:
        rows = self.rows()
        if not len(rows):
            return
        yield from _conflicts(rows)
        yield from _near_copies(rows)
        if self._training is not None:
            yield from _leaks(rows, self._training.rows())
        if self._count > LIMIT:
            yield problem("likeness_sampled", seen=len(rows), detail=str(self._count))

    def rows(self) -> Rows:
        """The fingerprints, in the order of the file."""
        return self._rows[: self._filled]


def fingerprints(batch: Batch) -> Rows:
    """One row for each example, by which it can be compared with others."""
    rows = np.empty(len(batch), _Row)
    rows["line"], rows["number"] = batch.lines, batch.numbers
    calls = np.fromiter(map(bool, batch.calls), dtype=np.bool_, count=len(batch))
    rows["asked"] = np.fromiter(map(bool, batch.asked), dtype=np.bool_, count=len(batch))
    rows["short"] = calls | (np.fromiter(map(len, batch.answered), dtype=np.intp, count=len(batch)) <= SHORT)
    rows["setting"], rows["context"], rows["end"] = batch.settings, batch.contexts, batch.ends
    openings = np.array([hash(answer[:_OPENING]) for answer in batch.answered], dtype=np.int64)
    same = np.where(calls, rows["end"], openings).view(np.uint64)
    rows["key"] = same * _MIX ^ numerals(batch.asked)
    rows["sketch"], rows["bands"] = sketch(batch.asked)
    return rows


def _conflicts(rows: Rows) -> Iterator[Finding]:
    """The same context in the same setting, and another end."""
    same = rows["context"] ^ (rows["setting"] * np.int64(0x9E3779B97F4A7C1))
    firsts, laters = with_first(same.view(np.uint64))
    differ = (rows["end"][firsts] != rows["end"][laters]) & rows["asked"][laters]
    for first, later in zip(firsts[differ], laters[differ], strict=True):
        finding = _at(rows[later], "conflicting_answers", rows[first])
        yield finding if rows["short"][later] else replace(finding, severity="note")


def _near_copies(rows: Rows) -> Iterator[Finding]:
    lefts, rights = alike(rows)
    near = rows["setting"][lefts] == rows["setting"][rights]
    for first, later in _once(lefts[near], rights[near]):
        yield _at(rows[later], "near_duplicate", rows[first])


def _leaks(rows: Rows, training: Rows) -> Iterator[Finding]:
    """Examples of `rows` whose question, or nearly the same example, is among `training`."""
    both = np.concatenate([training, rows])
    size = len(training)
    lefts, rights = related(both)
    across = (lefts < size) & (rights >= size)
    for first, later in _once(lefts[across], rights[across]):
        yield _at(both[later], "validation_leak", both[first])


def related(rows: Rows) -> Pairs:
    """Pairs that must not stand on two sides of a split: one question, or nearly one example, in whatever setting."""
    firsts, laters = with_first(rows["context"].astype(np.uint64))
    asked = rows["asked"][laters]
    near_firsts, near_laters = alike(rows)
    return np.concatenate([firsts[asked], near_firsts]), np.concatenate([laters[asked], near_laters])


def alike(rows: Rows) -> Pairs:
    """Pairs with equal keys, other contexts and sketches that are alike; the first of each stands earlier."""
    lefts, rights = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for band in range(BANDS):
        mixed = rows["key"] ^ (rows["bands"][:, band].astype(np.uint64) * _MIX)
        repeats = Repeats(mixed)
        for left, right in (repeats.with_first(), repeats.with_previous()):
            other = rows["context"][left] != rows["context"][right]  # or there are as many pairs as exact copies
            left, right = left[other], right[other]
            for start in range(0, len(left), _PIECE):
                one, two = left[start : start + _PIECE], right[start : start + _PIECE]
                close = similarity(rows["sketch"][one], rows["sketch"][two]) >= ALIKE
                lefts.append(one[close])
                rights.append(two[close])
    return np.concatenate(lefts), np.concatenate(rights)


def _once(lefts: npt.NDArray[np.int32], rights: npt.NDArray[np.int32]) -> Iterator[tuple[np.int32, np.int32]]:
    """Each right place once, with its earliest partner, in the order of the file."""
    order = np.lexsort((lefts, rights))
    places, begins = np.unique(rights[order], return_index=True)
    yield from zip(lefts[order][begins], places, strict=True)


def _at(row: np.void, code: str, first: np.void) -> Finding:
    return problem(code, detail=str(first["line"])).at(int(row["line"]), int(row["number"]))
