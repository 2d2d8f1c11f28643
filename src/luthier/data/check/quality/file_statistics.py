"""Properties of a whole file: common openings, unevenly distributed labels and functions, differing system prompts.

Every table is bounded. A file with more distinct values than a table holds gets no finding.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import compress, repeat
from operator import ne, not_

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding, make_finding

COMMON_SHARE = 0.5  # of the answers, for an opening to be reported
MIN_ANSWERS = 20  # with fewer, percentages mean nothing
IMBALANCE_RATIO = 10  # of the examples with the commonest label or function to those with the rarest
_MAX_VALUES = 2000  # distinct values per table
_KEY_LENGTH = 6  # characters by which openings are grouped
_MAX_LABEL_LENGTH = 40  # characters
_MAX_LABELS = 50
_NOT_LETTERS = re.compile(r"[\W_]+")


class OpeningCheck(QualityCheck):
    """Words that most answers begin with."""

    def __init__(self) -> None:
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._prefixes: dict[str, str] = {}  # by key, the common beginning of all answers with that key

    def check(self, batch: Batch) -> Iterable[Finding]:
        texts = [text for text in batch.answers.texts if len(text) > _MAX_LABEL_LENGTH]
        keys = [text[:_KEY_LENGTH] for text in texts]
        self._total += len(texts)
        prefixes = self._prefixes
        if len(prefixes) < _MAX_VALUES:
            for key, text in zip(keys, texts, strict=True):
                if key not in prefixes and len(prefixes) < _MAX_VALUES:
                    prefixes[key] = text[:200]
        expected = list(map(prefixes.get, keys, repeat("")))
        self._counts.update(compress(keys, expected))
        matches = map(str.startswith, texts, expected)
        for index in compress(range(len(texts)), map(not_, matches)):
            prefixes[keys[index]] = _common_prefix(prefixes[keys[index]], texts[index])
        return ()

    def finish(self) -> Iterator[Finding]:
        for key, count in self._counts.most_common(1):
            prefix = self._prefixes[key].rstrip()
            is_common = self._total >= MIN_ANSWERS and count >= COMMON_SHARE * self._total
            if is_common and key[0].isalpha() and len(prefix) < 150:
                yield make_finding("common_opening", value=prefix, detail=f"{100 * count // self._total}%")


def _common_prefix(left: str, right: str) -> str:
    return left[: next(compress(range(len(left)), map(ne, left, right)), min(len(left), len(right)))]


class SystemPromptCheck(QualityCheck):
    """System prompts that are blank, repeated in one example, missing from some, or spelt in different ways."""

    def __init__(self) -> None:
        self._with = self._without = 0
        self._first_line_without: int | None = None
        self._variants: dict[str, tuple[str, int]] = {}  # a prompt, or NUL and its letters → (prompt, line)
        self._finished: set[str] = set()  # prompts that need no further check

    def check(self, batch: Batch) -> Iterator[Finding]:
        finished = self._finished
        unfinished = [
            index
            for index, prompts in enumerate(batch.system_prompts)
            if len(prompts) != 1 or prompts[0] not in finished
        ]
        self._with += len(batch.system_prompts) - len(unfinished)
        for example in unfinished:
            if prompts := batch.system_prompts[example]:
                self._with += 1
                yield from self._check_prompts(batch, example, prompts)
            else:
                self._without += 1
                self._first_line_without = self._first_line_without or batch.lines[example]

    def _check_prompts(self, batch: Batch, example: int, prompts: list[str]) -> Iterator[Finding]:
        if len(prompts) > 1:
            yield batch.finding("system_prompt_repeated", example, value=prompts[1], detail=str(len(prompts)))
        if not prompts[0].strip():
            yield batch.finding("system_prompt_blank", example)
        elif prompts[0] in self._variants:
            self._finished.add(prompts[0])
        yield from self._check_spelling(batch, example, prompts[0])

    def _check_spelling(self, batch: Batch, example: int, prompt: str) -> Iterator[Finding]:
        """Yields a finding if the prompt has the letters of an earlier one, but other characters between them."""
        if prompt in self._variants or len(self._variants) >= _MAX_VALUES:
            return
        letters = _NOT_LETTERS.sub("", prompt).casefold()
        self._variants[prompt] = prompt, batch.lines[example]
        first, line = self._variants.setdefault("\0" + letters, (prompt, batch.lines[example]))
        if first != prompt and letters:
            yield batch.finding("system_prompt_varies", example, value=prompt, detail=str(line))

    def finish(self) -> Iterator[Finding]:
        if self._with and self._without and self._first_line_without:
            share = f"{self._without} / {self._with + self._without}"
            yield make_finding("system_prompt_missing", value=share, detail=str(self._first_line_without))


class BalanceCheck(QualityCheck):
    """How evenly labels and called functions are distributed."""

    def __init__(self) -> None:
        self._answers = 0
        self._labels: Counter[str] = Counter()
        self._functions: Counter[str] = Counter()

    def check(self, batch: Batch) -> Iterable[Finding]:
        for names in filter(None, batch.called_functions):
            self._functions.update(names)
        pairs = zip(batch.last_answers, batch.called_functions, strict=True)
        texts = [answer for answer, names in pairs if answer and not names]
        self._answers += len(texts)
        for answer in texts if len(self._labels) <= _MAX_LABELS else ():
            if len(answer) <= _MAX_LABEL_LENGTH and len(self._labels) <= _MAX_LABELS:
                self._labels[answer] += 1
        return ()

    def finish(self) -> Iterator[Finding]:
        labels = self._labels
        enough = max(0.95 * self._answers, 5 * len(labels), MIN_ANSWERS)
        if 2 <= len(labels) <= _MAX_LABELS and labels.total() >= enough:
            yield from _imbalance("label_imbalance", labels)
        if self._functions.total() >= MIN_ANSWERS:
            yield from _imbalance("call_imbalance", self._functions)


def _imbalance(code: str, counts: Counter[str]) -> Iterator[Finding]:
    (commonest, most), *_, (rarest, fewest) = counts.most_common() if len(counts) > 1 else [("", 1), ("", 1)]
    if most >= IMBALANCE_RATIO * fewest:
        yield make_finding(code, key=commonest, value=rarest, detail=f"{most} : {fewest}")
