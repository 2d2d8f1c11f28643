"""Every observer of this package at once, over one file: what `luthier check` hands its examples to."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from luthier.data.check.quality.answers import Answers
from luthier.data.check.quality.columns import Batch, Observer
from luthier.data.check.quality.file_statistics import Balance, Openings, Systems
from luthier.data.check.quality.language_script import Script
from luthier.data.check.quality.near_duplicates import Likeness
from luthier.data.check.quality.secrets_and_pii import Private
from luthier.data.findings import Finding
from luthier.data.jsonl.columnar_parser import Plain

_BATCH = 1024  # examples; with usual ones their arrays fit a processor's cache


class Quality:
    """Looks at one file, once. `training`: the one that has looked at the training file, for a validation file."""

    def __init__(self, training: "Quality | None" = None) -> None:
        self._likeness: Likeness = Likeness(training._likeness if training else None)
        self._observers: tuple[Observer, ...] = (
            Answers(), self._likeness, Openings(), Systems(), Balance(), Script(), Private(),
        )  # fmt: skip
        self._batch = Batch()

    def look(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterator[Finding] | tuple[()]:
        """Findings on the examples so far that had to wait for company; each names its own line."""
        self._batch.add(line_number, example_number, example)
        return self._flush() if len(self._batch) == _BATCH else ()

    def look_at(self, first_line: int, first_example: int, examples: Plain) -> Iterator[Finding]:
        """The same for many examples that follow each other, on lines that do."""
        at = 0
        while at < len(examples):
            end = min(len(examples), at + _BATCH - len(self._batch))
            self._batch.extend(first_line + at, first_example + at, examples.part(at, end))
            at = end
            if len(self._batch) == _BATCH:
                yield from self._flush()

    def finish(self) -> Iterator[Finding]:
        """The findings that are left, and those on the whole file."""
        yield from self._flush()
        for observer in self._observers:
            yield from observer.finish()

    def _flush(self) -> Iterator[Finding]:
        batch, self._batch = self._batch, Batch()
        return chain.from_iterable([list(observer.look(batch)) for observer in self._observers])
