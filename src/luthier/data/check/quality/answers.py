"""Looks at every trained answer for what it should not teach: empty openings, refusals, foreign names, half sentences.

The judgement is that of `preamble`, `refusal` and `cutoff`; here a batch is searched for the few texts that need it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from luthier.data.check.quality.columns import Batch, in_texts
from luthier.data.check.quality.keywords import ALARM, SPEAKERS
from luthier.data.check.quality.preamble import may_open, strip_preamble
from luthier.data.check.quality.refusal import is_refusal, named_maker
from luthier.data.check.quality.truncation import CLOSED, is_cut_off
from luthier.data.findings import Finding, shown

_FENCE = re.compile("```")


class Answers:
    """One observer for what needs the same search."""

    def look(self, batch: Batch) -> Iterator[Finding]:
        if not batch.answers.texts:
            return
        yield from _preambles(batch)
        yield from _speakers(batch)
        yield from _halves(batch)

    def finish(self) -> Iterable[Finding]:
        return ()


def _preambles(batch: Batch) -> Iterator[Finding]:
    for place, example, message, text in in_texts(batch.answers, may_open(batch.answers.texts)):
        rest = strip_preamble(text, batch.questions[place])
        if rest is not None:
            gone = text.strip()[: len(text.strip()) - len(rest)].strip()
            yield batch.finding("preamble", example, message, seen=gone, detail=shown(rest, 30))


def _speakers(batch: Batch) -> Iterator[Finding]:
    alarmed = batch.answers_among(ALARM.places(batch.joined, SPEAKERS))
    for _, example, message, text in in_texts(batch.answers, alarmed):
        if is_refusal(text):
            finding = batch.finding("refusal", example, message, seen=text)
            # Where functions are defined, declining what they cannot do is part of the lesson.
            yield replace(finding, severity="note") if batch.defines[example] else finding
        if name := named_maker(text):
            yield batch.finding("identity_leak", example, message, seen=name)


def _halves(batch: Batch) -> Iterator[Finding]:
    fenced = batch.answers_among(batch.joined.places(_FENCE)) if "```" in batch.joined.text else []
    unclosed = [place for place, text in enumerate(batch.answers.texts) if text[-1] not in CLOSED]
    for _, example, message, text in in_texts(batch.answers, {*unclosed, *fenced}):
        if is_cut_off(text):
            yield batch.finding("answer_cut_off", example, message, seen="…" + text.rstrip()[-30:])
