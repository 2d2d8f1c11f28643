"""Runs every registered quality check over one file."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.batches import Batches
from luthier.data.check.registry import QualityCheck, quality_checks
from luthier.data.findings import Finding
from luthier.data.jsonl.columnar_parser import ChatColumns


class QualityRunner:
    """All quality checks of one file. `training`: the runner of the training file, if this is its validation file."""

    def __init__(self, training: "QualityRunner | None" = None) -> None:
        self._checks: dict[str, QualityCheck] = {name: check() for name, check in quality_checks().items()}
        self._batches = Batches()
        if training:
            for name, check in self._checks.items():
                check.compare_with(training._checks[name])

    def check(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterator[Finding]:
        """Queues one example; yields the findings on the batch if it is now full, each with its own line."""
        for batch in self._batches.add(line_number, example_number, example):
            yield from self._findings(batch)

    def check_columns(self, first_line: int, first_example: int, examples: ChatColumns) -> Iterator[Finding]:
        """Queues consecutive examples on consecutive lines; yields the findings on batches that are now full."""
        for batch in self._batches.extend(first_line, first_example, examples):
            yield from self._findings(batch)

    def finish(self) -> Iterator[Finding]:
        """Yields the findings on the last batch, then those on the whole file."""
        yield from self._findings(self._batches.flush())
        for check in self._checks.values():
            yield from check.finish()

    def _findings(self, batch: Batch) -> Iterator[Finding]:
        return chain.from_iterable([list(check.check(batch)) for check in self._checks.values()])
