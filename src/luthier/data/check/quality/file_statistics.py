"""What shows in the sum of a file: how answers begin, which labels and functions there are, which system prompts.

Counts only, and of a bounded number of different things; where there are more, they are not few and nothing is said.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import compress, repeat
from operator import not_

from luthier.data.check.quality.columns import Batch
from luthier.data.findings import Finding, problem

MOST = 0.5  # the share of the answers that an opening must have to be told
ENOUGH = 20  # answers, before shares mean anything
UNEVEN = 10  # times as many examples of one label or function as of another
_KINDS = 2000  # different things counted
_START = 6  # characters by which openings are grouped
_LABEL = 40  # characters at most
_LABELS = 50  # different ones at most
_NOT_LETTERS = re.compile(r"[\W_]+")


class Openings:
    """Words that most answers begin with."""

    def __init__(self) -> None:
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._prefixes: dict[str, str] = {}

    def look(self, batch: Batch) -> Iterable[Finding]:
        texts = [text for text in batch.answers.texts if len(text) > _LABEL]
        starts = [text[:_START] for text in texts]
        self._total += len(texts)
        prefixes = self._prefixes
        if len(prefixes) < _KINDS:
            for start, text in zip(starts, texts, strict=True):
                if start not in prefixes and len(prefixes) < _KINDS:
                    prefixes[start] = text[:200]
        known = list(map(prefixes.get, starts, repeat("")))
        self._counts.update(compress(starts, known))
        fits = map(str.startswith, texts, known)
        for at in compress(range(len(texts)), map(not_, fits)):
            prefixes[starts[at]] = _common(prefixes[starts[at]], texts[at])
        return ()

    def finish(self) -> Iterator[Finding]:
        for start, count in self._counts.most_common(1):
            prefix = self._prefixes[start].rstrip()
            if self._total >= ENOUGH and count >= MOST * self._total and start[0].isalpha() and len(prefix) < 150:
                share = f"{100 * count // self._total}%"
                yield problem("common_opening", seen=prefix, detail=share)


def _common(left: str, right: str) -> str:
    """What both begin with."""
    same = (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return left[: next(same, min(len(left), len(right)))]


class Balance:
    """How evenly labels and called functions are spread."""

    def __init__(self) -> None:
        self._answers = 0
        self._labels: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._uncalling = 0

    def look(self, batch: Batch) -> Iterable[Finding]:
        for calls in filter(None, batch.calls):
            self._calls.update(calls)
        texts = [answer for answer, calls in zip(batch.answered, batch.calls, strict=True) if answer and not calls]
        self._answers += len(texts)
        for answer in texts if len(self._labels) <= _LABELS else ():
            if len(answer) <= _LABEL and len(self._labels) <= _LABELS:
                self._labels[answer] += 1
        return ()

    def finish(self) -> Iterator[Finding]:
        labels = self._labels
        are_labels = 2 <= len(labels) <= _LABELS and labels.total() >= max(
            0.95 * self._answers, 5 * len(labels), ENOUGH
        )
        if are_labels:
            yield from _uneven("label_imbalance", labels)
        if self._calls.total() >= ENOUGH:
            yield from _uneven("call_imbalance", self._calls)


def _uneven(code: str, counts: Counter[str]) -> Iterator[Finding]:
    (most, many), *_, (least, few) = counts.most_common() if len(counts) > 1 else [("", 1), ("", 1)]
    if many >= UNEVEN * few:
        yield problem(code, key=most, seen=least, detail=f"{many} : {few}")


class Systems:
    """System prompts that are blank, doubled, or not the same where they mean the same."""

    def __init__(self) -> None:
        self._with = self._without = 0
        self._first_without: tuple[int, int] | None = None
        self._variants: dict[str, tuple[str, int]] = {}
        self._known: set[str] = set()  # of those, prompts of which nothing is left to say

    def look(self, batch: Batch) -> Iterator[Finding]:
        known = self._known
        new = [at for at, prompts in enumerate(batch.systems) if len(prompts) != 1 or prompts[0] not in known]
        self._with += len(batch.systems) - len(new)
        for example in new:
            if prompts := batch.systems[example]:
                self._with += 1
                yield from self._new(batch, example, prompts)
            else:
                self._without += 1
                self._first_without = self._first_without or (batch.lines[example], batch.numbers[example])

    def _new(self, batch: Batch, example: int, prompts: list[str]) -> Iterator[Finding]:
        """What is to be said of prompts that were not there before, are blank or more than one."""
        if len(prompts) > 1:
            yield batch.finding("system_prompt_repeated", example, seen=prompts[1], detail=str(len(prompts)))
        if not prompts[0].strip():
            yield batch.finding("system_prompt_blank", example)
        elif prompts[0] in self._variants:
            self._known.add(prompts[0])
        yield from self._variant(batch, example, prompts[0])

    def _variant(self, batch: Batch, example: int, prompt: str) -> Iterator[Finding]:
        """The same words as an earlier prompt, and not the same characters."""
        known = self._variants.get(prompt)
        if known is not None or len(self._variants) >= _KINDS:
            return
        words = _NOT_LETTERS.sub("", prompt).casefold()
        self._variants[prompt] = prompt, batch.lines[example]
        first, line = self._variants.setdefault("\0" + words, (prompt, batch.lines[example]))
        if first != prompt and words:
            yield batch.finding("system_prompt_varies", example, seen=prompt, detail=str(line))

    def finish(self) -> Iterator[Finding]:
        if self._with and self._without and self._first_without:
            share = f"{self._without} / {self._with + self._without}"
            yield problem("system_prompt_missing", seen=share, detail=str(self._first_without[0]))
