"""Labels that the form of a question gives away: where every bare command is rejected, a model learns to reject bare
commands.

A label is the name of the called function, or the short answer of a classification. The form is what is visible
without understanding the text: a question, a command with or without a polite opening, the first word, the length.
First words that carry meaning, such as verbs, do not count: that "translate" leads to a translation is the task.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding

_MAX_EXAMPLES = 20_000
_MAX_LABELS = 50
_MAX_LABEL_LENGTH = 40  # characters
_MIN_SUPPORT = 8  # examples of the label with the form, and examples without the form
_MIN_PRECISION, _MIN_RECALL = 0.9, 0.8
_MIN_GAP = 1.5  # the ratio of the lengths of long questions to those of short ones
_ASKING = frozenset(
    """
    what who whom whose where when why which how is are am was were do does did can could would will shall should may
    might has have 什么 谁 哪 哪里 哪个 怎么 怎样 如何 为什么 为何 多少 几 是否 能否 可否 能不能 可不可以 能 可以
    请问 有没有
    """.split()  # noqa: SIM905 - a list of words is easier to read
)
_OPENINGS = frozenset(
    """
    please i i'd i'm we let let's kindly hey hi hello 请 帮 帮我 麻烦 我 我要 我想 我们 给我 你好 您好
    """.split()  # noqa: SIM905 - as above
)
_FORM_WORDS = sorted(_ASKING | _OPENINGS, key=len, reverse=True)
_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")
_QUESTION_END = re.compile(r"[?？]\W*$|[吗呢么][。.!！\s]*$")


class QuestionForm(NamedTuple):
    """`kind`: question, indirect (with a polite or personal opening) or bare; `word`: as `_first_word` returns it."""

    kind: str
    word: str


class QuestionFormCheck(QualityCheck):
    """Counts which labels occur with which forms; one finding for each label that a form gives away."""

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._forms: list[QuestionForm] = []
        self._lengths: list[int] = []
        self._distinct: set[str] = set()

    def check(self, batch: Batch) -> Iterable[Finding]:
        rows = zip(batch.forms.questions, batch.last_answers, batch.called_functions, strict=True)
        for question, answer, calls in rows:
            if len(self._labels) >= _MAX_EXAMPLES or len(self._distinct) > _MAX_LABELS:
                break
            label = " + ".join(sorted(set(calls))) if calls else answer.strip()
            if label and len(label) <= _MAX_LABEL_LENGTH and question:
                self._distinct.add(label)
                self._labels.append(label)
                self._forms.append(form_of(question))
                self._lengths.append(len(question))
        return ()

    def finish(self) -> Iterator[Finding]:
        counts = Counter(self._labels)
        if not 2 <= len(counts) <= _MAX_LABELS or len(self._labels) < 5 * len(counts):
            return
        labels = [label for label, count in counts.most_common() if count >= _MIN_SUPPORT]
        for label in labels:
            finding = next(self._findings(label), None)
            if finding:
                yield finding

    def _findings(self, label: str) -> Iterator[Finding]:
        """A finding for each form that gives the label away, the most obvious form first."""
        for kind in ("bare", "question", "indirect"):
            yield from self._finding(label, [form.kind == kind for form in self._forms], kind)
        words = Counter(form.word for form, other in zip(self._forms, self._labels, strict=True) if other == label)
        for word, _ in words.most_common(1):
            if word:
                yield from self._finding(label, [form.word == word for form in self._forms], "word", f"{word}: ")
        own = sorted(size for size, other in zip(self._lengths, self._labels, strict=True) if other == label)
        others = sorted(size for size, other in zip(self._lengths, self._labels, strict=True) if other != label)
        if len(others) < _MIN_SUPPORT:
            return
        if _at(own, 0.9) * _MIN_GAP < _at(others, 0.1):
            limit = _at(own, 0.9)
            yield from self._finding(label, [size <= limit for size in self._lengths], "short", f"≤ {limit}: ")
        elif _at(own, 0.1) > _at(others, 0.9) * _MIN_GAP:
            limit = _at(own, 0.1)
            yield from self._finding(label, [size >= limit for size in self._lengths], "long", f"≥ {limit}: ")

    def _finding(self, label: str, has_form: list[bool], kind: str, opening: str = "") -> Iterator[Finding]:
        total, with_form = len(self._labels), sum(has_form)
        both = sum(form and other == label for form, other in zip(has_form, self._labels, strict=True))
        alone = self._labels.count(label) - both
        if min(both, total - with_form) < _MIN_SUPPORT:
            return
        if both >= _MIN_PRECISION * with_form and both >= _MIN_RECALL * (both + alone):
            counts = f"{opening}{both} / {with_form}, {alone} / {total - with_form}"
            yield make_finding("label_by_form", key=label, value=counts, detail=kind)


def form_of(question: str) -> QuestionForm:
    text = question.strip().casefold()
    word = _first_word(text)
    if _QUESTION_END.search(text) or word in _ASKING:
        return QuestionForm("question", word)
    return QuestionForm("indirect" if word in _OPENINGS else "bare", word)


def _first_word(text: str) -> str:
    """The first word if it is a question word or a polite or personal opening; "" for any other."""
    match = _WORD.match(text)
    if match:
        word = match.group().replace("’", "'")
        return word if word in _ASKING or word in _OPENINGS else ""
    return next((word for word in _FORM_WORDS if not word.isascii() and text.startswith(word)), "")


def _at(ascending: list[int], share: float) -> int:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]
