"""Answers that should not be taught: empty openings, refusals, names of other models, truncated sentences.

`preamble`, `refusal` and `truncation` judge one text; this check selects the few texts of a batch that need it.
"""

from collections.abc import Iterator
from dataclasses import replace

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.keywords import FENCES, SPEAKERS, keywords
from luthier.data.check.quality.preamble import may_start_with_preamble, strip_preamble
from luthier.data.check.quality.refusal import is_refusal, named_maker
from luthier.data.check.quality.repetition import MIN_CHARACTERS, endless_repetition
from luthier.data.check.quality.truncation import is_cut_off, may_be_cut_off
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, printable


class AnswerCheck(QualityCheck):
    """Four checks in one, because they search the same texts."""

    def check(self, batch: Batch) -> Iterator[Finding]:
        if not batch.answers.texts:
            return
        yield from _preambles(batch)
        yield from _refusals_and_makers(batch)
        yield from _truncated_answers(batch)
        yield from _endless_answers(batch)


def _preambles(batch: Batch) -> Iterator[Finding]:
    preferred = batch.answers.preferred_examples
    for row in batch.answers.rows(may_start_with_preamble(batch.answers.texts)):
        rest = strip_preamble(row.text, batch.answers.questions[row.number])
        if rest is not None and row.example not in preferred:
            text = row.text.strip()
            preamble = text[: len(text) - len(rest)].strip()
            yield batch.finding("preamble", row.example, row.message, value=preamble, detail=printable(rest, 30))


def _refusals_and_makers(batch: Batch) -> Iterator[Finding]:
    preferred = batch.answers.preferred_examples
    for row in batch.answers.rows(batch.answers.among(keywords().texts_with(batch.joined, SPEAKERS))):
        if is_refusal(row.text) and row.example not in preferred:
            finding = batch.finding("refusal", row.example, row.message, value=row.text)
            # Where functions are defined, the model should learn to decline what they cannot do.
            yield replace(finding, severity="note") if batch.defines_functions[row.example] else finding
        if name := named_maker(row.text):
            yield batch.finding("identity_leak", row.example, row.message, value=name)


def _truncated_answers(batch: Batch) -> Iterator[Finding]:
    answers = batch.answers
    fenced = answers.among(keywords().texts_with(batch.joined, FENCES))
    for row in answers.rows({*may_be_cut_off(answers.texts), *fenced}):
        if is_cut_off(row.text):
            yield batch.finding("answer_cut_off", row.example, row.message, value="…" + row.text.rstrip()[-30:])


def _endless_answers(batch: Batch) -> Iterator[Finding]:
    long = (index for index, text in enumerate(batch.answers.texts) if len(text) >= MIN_CHARACTERS)
    for row in batch.answers.rows(long):
        if repetition := endless_repetition(row.text):
            times = str(repetition.times)
            yield batch.finding("answer_repeats", row.example, row.message, value=repetition.unit, detail=times)
