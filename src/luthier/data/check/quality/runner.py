"""Runs every registered quality check over one file."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from luthier.data.check.quality.batch import Batch
from luthier.data.check.registry import QualityCheck, quality_checks
from luthier.data.findings import Finding
from luthier.data.jsonl.columnar_parser import ChatColumns

_BATCH_SIZE = 1024  # examples, whatever the form of their lines; the arrays of usual ones fit into the CPU cache


class QualityRunner:
    """Runs over one file, once. `training`: the runner of the training file, if this is its validation file."""

    def __init__(self, training: "QualityRunner | None" = None) -> None:
        self._checks: dict[str, QualityCheck] = {name: check() for name, check in quality_checks().items()}
        self._batch = Batch()
        if training:
            for name, check in self._checks.items():
                check.compare_with(training._checks[name])

    def check(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterable[Finding]:
        """Queues one example; the findings on a batch that is now full, each with its own line."""
        self._batch.add(line_number, example_number, example)
        return self._flush() if len(self._batch) == _BATCH_SIZE else ()

    def check_columns(self, first_line: int, first_example: int, examples: ChatColumns) -> Iterator[Finding]:
        """Queues consecutive examples on consecutive lines; the findings on batches that are now full."""
        start = 0
        while start < len(examples):
            end = min(len(examples), start + _BATCH_SIZE - len(self._batch))
            self._batch.extend(first_line + start, first_example + start, examples.slice(start, end))
            start = end
            if len(self._batch) == _BATCH_SIZE:
                yield from self._flush()

    def finish(self) -> Iterator[Finding]:
        """The findings on the last batch, and those on the whole file."""
        yield from self._flush()
        for check in self._checks.values():
            yield from check.finish()

    def _flush(self) -> Iterator[Finding]:
        batch, self._batch = self._batch, Batch()
        return chain.from_iterable([list(check.check(batch)) for check in self._checks.values()])
