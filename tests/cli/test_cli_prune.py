"""`luthier prune`: lists what may go, and deletes it if it is told to."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Run

from luthier.store import Store
from store.test_leftovers import a_checkpoint, a_job, aged, end

pytestmark = pytest.mark.services  # the client asks the system for its name


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def test_it_deletes_what_was_named(store: Store, tmp_path: Path, luthier: Run) -> None:
    job = a_job(store)
    unused, final = a_checkpoint(store, job, 1), a_checkpoint(store, job, 2)
    (store.job_folder(job.id) / "trainer.log").write_text("step 1")
    end(store, job, final)
    aged(tmp_path / "cache" / "kernels" / "old.so", 31)
    data = ("--data", str(tmp_path / "data"))
    listed = luthier("prune", *data)
    assert listed.stdout.index("checkpoints") < listed.stdout.index("logs")  # the largest first
    assert "luthier prune checkpoints" in listed.stderr
    assert "没有被引用的检查点" in luthier("prune", *data, "--lang", "zh").stdout
    deleted = json.loads(luthier("prune", *data, "--yes", "--json").stdout)
    assert Counter((leftover["kind"], leftover["deleted"]) for leftover in deleted) == {
        ("checkpoints", False): 1,
        ("logs", True): 1,
        ("kernels", True): 1,
    }
    assert store.models.find(unused)
    luthier("prune", "checkpoints", *data, "--yes")
    assert [model.id for model in store.models.list()] == [final]
    assert "There is nothing to delete." in luthier("prune", *data).stdout
