"""Examples that repeat another: near duplicates, conflicting answers, and validation data in the training file.

Two examples are compared by their questions *and* their calls: "查一下茅台的股价" and "查一下平安的股价" teach two
different calls. Keeps about 80 bytes per example, never its text, for the first `MAX_EXAMPLES` examples; a finding says
so if a file has more. Exact duplicates are found by `exact_duplicates`.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from luthier.data.check.duplicate_keys import DuplicateKeys, Pairs, pairs_with_first
from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.number_fingerprint import number_fingerprints
from luthier.data.check.quality.shared_text import SharedText
from luthier.data.check.quality.similarity import BANDS, BINS, estimated_jaccard, minhash
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding
from luthier.data.findings.kinds import Kind
from luthier.data.jsonl.sequence_hashes import text_hashes

MAX_EXAMPLES = 1_000_000
MIN_SIMILARITY = 0.85  # of the trigrams of two questions; estimated to within 0.05
SHORT_ANSWER = 40  # characters; a longer answer has more than one good wording
MIN_ALIKE, MOST = 10, 0.6  # more near duplicates than this number and this share of a file make one finding
_OPENING = 16  # characters at the start of the answer, which near duplicates share

_CHUNK = 65_536  # pairs per comparison, which bounds the temporary memory
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_Row = np.dtype(
    [
        ("line", np.uint32),
        ("number", np.uint32),
        ("is_short", np.bool_),
        ("has_question", np.bool_),
        ("setting", np.uint64),
        ("context", np.uint64),
        ("answer", np.uint64),
        ("key", np.uint64),  # equal where calls, numbers and the opening of the answer are
        ("bands", np.uint32, (BANDS,)),
        ("sketch", np.uint8, (BINS,)),
    ]
)
Rows = npt.NDArray[np.void]


class NearDuplicateCheck(QualityCheck):
    """Collects fingerprints; all findings come at the end."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "mostly_alike": Kind(
            "note",
            "{value} of {detail} examples are nearly the same as an earlier one (this one and line {key}, for example)",
            "{detail} 个样本中有 {value} 个与之前的样本几乎相同（例如这一个和第 {key} 行）",
            "Fine if the model should learn these small differences; otherwise add examples of other kinds.",
            "如果模型要学的正是这些细小的差别则没有问题；否则请补充其他种类的样本。",
            "{place}: {value} of {detail} examples are nearly the same as an earlier one",
        )
    }

    def __init__(self) -> None:
        self._training: NearDuplicateCheck | None = None
        self._rows: Rows = np.empty(0, _Row)
        self._filled = self._examples = 0
        self._shared: SharedText | None = None

    def compare_with(self, training: QualityCheck) -> None:
        self._training = training if isinstance(training, NearDuplicateCheck) else None
        self._shared = self._training._shared if self._training else None

    def check(self, batch: Batch) -> tuple[()]:
        if self._examples < MAX_EXAMPLES and len(batch):
            if not self._filled:  # virtual memory for all rows; pages that are never written take no RAM
                self._rows = np.empty(MAX_EXAMPLES + len(batch), _Row)
            if self._shared is None:
                self._shared = SharedText(batch.user_texts)
            new = fingerprints(batch, self._shared)[: len(self._rows) - self._filled]
            self._rows[self._filled : self._filled + len(new)] = new
            self._filled += len(new)
        self._examples += len(batch)
        return ()

    def finish(self) -> Iterator[Finding]:
        rows = self.rows()
        if not len(rows):
            return
        yield from _conflicts(rows)
        yield from _near_duplicates(rows)
        if self._training is not None:
            yield from _leaks(rows, self._training.rows())
        if self._examples > MAX_EXAMPLES:
            yield make_finding("likeness_sampled", value=len(rows), detail=str(self._examples))

    def rows(self) -> Rows:
        """The fingerprints, in the order of the file."""
        return self._rows[: self._filled]


def fingerprints(batch: Batch, shared: SharedText) -> Rows:
    """One row per example, for comparison with others; `shared` text, which most examples have, is left out."""
    rows = np.empty(len(batch), _Row)
    rows["line"], rows["number"] = batch.lines, batch.example_numbers
    calls = np.fromiter(map(bool, batch.called_functions), dtype=np.bool_, count=len(batch))
    lengths = np.fromiter(map(len, batch.last_answers), dtype=np.intp, count=len(batch))
    rows["has_question"] = np.fromiter(map(bool, batch.user_texts), dtype=np.bool_, count=len(batch))
    rows["is_short"] = calls | (lengths <= SHORT_ANSWER)
    rows["setting"], rows["context"], rows["answer"] = batch.hashes
    openings = text_hashes([answer[:_OPENING] for answer in batch.last_answers])
    same = np.where(calls, rows["answer"], openings)
    rows["key"] = same * _MULTIPLIER ^ number_fingerprints(batch.user_texts)
    rows["sketch"], rows["bands"] = minhash(shared.remove_from(batch.user_texts))
    return rows


def related(rows: Rows) -> Pairs:
    """Pairs that a split must keep together: equal questions and near duplicates, whatever their system prompts."""
    firsts, laters = pairs_with_first(rows["context"])
    has_question = rows["has_question"][laters]
    near_firsts, near_laters = similar_pairs(rows)
    return np.concatenate([firsts[has_question], near_firsts]), np.concatenate([laters[has_question], near_laters])


def similar_pairs(rows: Rows) -> Pairs:
    """Pairs with equal keys, different contexts and similar sketches; the first of each pair is earlier in the file."""
    lefts, rights = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for band in range(BANDS):
        duplicates = DuplicateKeys(rows["key"] ^ (rows["bands"][:, band].astype(np.uint64) * _MULTIPLIER))
        for left, right in (duplicates.pairs_with_first(), duplicates.pairs_with_previous()):
            differ = rows["context"][left] != rows["context"][right]  # else there are as many pairs as exact copies
            left, right = left[differ], right[differ]
            for start in range(0, len(left), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                estimate = estimated_jaccard(rows["sketch"][left[chunk]], rows["sketch"][right[chunk]])
                similar = estimate >= MIN_SIMILARITY
                lefts.append(left[chunk][similar])
                rights.append(right[chunk][similar])
    return np.concatenate(lefts), np.concatenate(rights)


def _conflicts(rows: Rows) -> Iterator[Finding]:
    """Findings on examples with the context and setting of an earlier one, but another answer."""
    firsts, laters = pairs_with_first(rows["context"] ^ (rows["setting"] * _MULTIPLIER))
    differ = (rows["answer"][firsts] != rows["answer"][laters]) & rows["has_question"][laters]
    for first, later in zip(firsts[differ], laters[differ], strict=True):
        finding = _finding("conflicting_answers", rows[later], rows[first])
        yield finding if rows["is_short"][later] else replace(finding, severity="note")


def _near_duplicates(rows: Rows) -> Iterator[Finding]:
    lefts, rights = similar_pairs(rows)
    same_setting = rows["setting"][lefts] == rows["setting"][rights]
    partners = list(_earliest_partners(lefts[same_setting], rights[same_setting]))
    if len(partners) > MIN_ALIKE and len(partners) > MOST * len(rows):
        first, later = partners[0]
        finding = make_finding("mostly_alike", value=len(partners), detail=str(len(rows)), key=str(rows[later]["line"]))
        yield finding.at(int(rows[first]["line"]), int(rows[first]["number"]))
        return
    for first, later in partners:
        yield _finding("near_duplicate", rows[later], rows[first])


def _leaks(rows: Rows, training: Rows) -> Iterator[Finding]:
    """Examples of `rows` whose question, or nearly the same example, is in `training`."""
    both = np.concatenate([training, rows])
    size = len(training)
    lefts, rights = related(both)
    across = (lefts < size) & (rights >= size)
    for first, later in _earliest_partners(lefts[across], rights[across]):
        yield _finding("validation_leak", both[later], both[first])


def _earliest_partners(
    lefts: npt.NDArray[np.int32], rights: npt.NDArray[np.int32]
) -> Iterator[tuple[np.int32, np.int32]]:
    """(its earliest partner, right index) for each right index once, ascending."""
    if not len(rights):
        return
    order = np.lexsort((lefts, rights))
    indices, begins = np.unique(rights[order], return_index=True)
    yield from zip(lefts[order][begins], indices, strict=True)


def _finding(code: str, row: np.void, first: np.void) -> Finding:
    return make_finding(code, detail=str(first["line"])).at(int(row["line"]), int(row["number"]))
