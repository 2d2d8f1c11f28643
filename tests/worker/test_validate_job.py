"""The validation of a job, called as the worker calls it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.catalogue import Catalogue
from luthier.store import Store
from luthier.worker.handlers.validate_job import validate
from store.test_store import JOB, put
from training.jobs import EXAMPLES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def test_a_validation_that_starts_over_says_nothing_twice(store: Store, tiny_base: Path, tmp_path: Path) -> None:
    """The file has a finding of its own, and one that only the base shows: an example that its context cuts."""
    turns = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "one two three " * 300}]
    lines = [*EXAMPLES, EXAMPLES[0], {"messages": turns}]
    file = put(store, "".join(json.dumps(line) + "\n" for line in lines).encode())
    job = store.jobs.create(**JOB | {"base": str(tiny_base), "training_file": file.id})
    messages = []
    for _ in range(2):
        claimed = store.jobs.claim("worker", "validating_files") or store.jobs.get(job.id)
        validate(claimed, store, Catalogue(tmp_path / "cache"), "all-linear")
        page = store.jobs.messages(job.id, limit=50, after=None)
        messages.append([event.message for event in page.data])
    assert sum("Findings in" in message for message in messages[0]) == 2
    assert messages[0] == messages[1]
