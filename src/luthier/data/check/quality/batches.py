"""Collects the examples of a file, one by one or many at once, into batches of one size."""

from collections.abc import Iterator
from typing import Any

from luthier.data.check.quality.batch import Batch
from luthier.data.jsonl.columnar_parser import ChatColumns

_BATCH_SIZE = 1024  # examples, whatever the form of their lines; the arrays of usual ones fit into the CPU cache


class Batches:
    """Collects the examples of one file, without structural errors, in their order."""

    def __init__(self) -> None:
        self._batch = Batch()

    def add(self, line: int, number: int, example: dict[str, Any]) -> Iterator[Batch]:
        """Adds one example; yields the batch if it is now full."""
        self._batch.add(line, number, example)
        if len(self._batch) == _BATCH_SIZE:
            yield self.flush()

    def extend(self, first_line: int, first_number: int, examples: ChatColumns) -> Iterator[Batch]:
        """Adds consecutive examples on consecutive lines; yields the batches that are now full."""
        start = 0
        while start < len(examples):
            end = min(len(examples), start + _BATCH_SIZE - len(self._batch))
            self._batch.extend(first_line + start, first_number + start, examples.slice(start, end))
            start = end
            if len(self._batch) == _BATCH_SIZE:
                yield self.flush()

    def flush(self) -> Batch:
        """A batch of the examples since the last one, perhaps none; starts the next batch."""
        batch, self._batch = self._batch, Batch()
        return batch
