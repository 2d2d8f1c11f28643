"""Looks at every trained answer for what it should not teach: empty openings, refusals, foreign names, half sentences.

The judgement is that of `preamble`, `refusal` and `cutoff`; here a batch is searched for the few texts that need it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from luthier.data.findings import Finding, shown
from luthier.data.quality.alarm import Alarm
from luthier.data.quality.batch import Batch, Joined, in_texts
from luthier.data.quality.cutoff import CLOSED, is_cut_off
from luthier.data.quality.preamble import MAY_OPEN, strip_preamble
from luthier.data.quality.refusal import HINTS, is_refusal, named_maker

_SPEAKERS = Alarm(HINTS)
_FENCE = re.compile("```")


class Answers:
    """One observer for what needs the same search."""

    def look(self, batch: Batch) -> Iterator[Finding]:
        if not batch.answers.texts:
            return
        joined = batch.answers.joined()
        yield from _preambles(batch, joined)
        yield from _speakers(batch, joined)
        yield from _halves(batch, joined)

    def finish(self) -> Iterable[Finding]:
        return ()


def _preambles(batch: Batch, joined: Joined) -> Iterator[Finding]:
    for place, example, message, text in in_texts(batch.answers, joined.places(MAY_OPEN)):
        rest = strip_preamble(text, batch.questions[place])
        if rest is not None:
            gone = text.strip()[: len(text.strip()) - len(rest)].strip()
            yield batch.finding("preamble", example, message, seen=gone, detail=shown(rest, 30))


def _speakers(batch: Batch, joined: Joined) -> Iterator[Finding]:
    for _, example, message, text in in_texts(batch.answers, _SPEAKERS.places(joined)):
        if is_refusal(text):
            finding = batch.finding("refusal", example, message, seen=text)
            # Where functions are defined, declining what they cannot do is part of the lesson.
            yield replace(finding, severity="note") if batch.defines[example] else finding
        if name := named_maker(text):
            yield batch.finding("identity_leak", example, message, seen=name)


def _halves(batch: Batch, joined: Joined) -> Iterator[Finding]:
    unclosed = [place for place, text in enumerate(batch.answers.texts) if text[-1] not in CLOSED]
    for _, example, message, text in in_texts(batch.answers, {*unclosed, *joined.places(_FENCE)}):
        if is_cut_off(text):
            yield batch.finding("answer_cut_off", example, message, seen="…" + text.rstrip()[-30:])
