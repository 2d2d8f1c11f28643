"""A job whose machine is lost goes on at another worker from the state that was uploaded last."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from luthier.store import Event, Job, Store
from luthier.store.bucket import Bucket
from luthier.worker.state_uploads import StateUploads
from luthier.worker.training_run import TrainingRun
from store.test_store import JOB, put
from training.jobs import EXAMPLES
from worker.test_run import Script, context_of, steps

_STATE = "state/state-1.safetensors"


@pytest.fixture(name="bucket")
def _bucket() -> Bucket:
    return Bucket("memory:///", MemoryStore())


@pytest.fixture(name="stores")
def _stores(tmp_path: Path, bucket: Bucket) -> Iterator[list[Store]]:
    """Two machines with one database and one bucket."""
    first = Store(tmp_path / "a", bucket)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "luthier.db").symlink_to(tmp_path / "a" / "luthier.db")
    second = Store(tmp_path / "b", bucket)
    yield [first, second]
    second.close()
    first.close()


class _Stateful(Script):
    """Saves a state that holds its number after its events."""

    folders: list[dict[str, bytes]] = []  # noqa: RUF012 - what each run began with

    def __init__(self, folder: Path) -> None:
        self.folders.append({name: (folder / name).read_bytes() for name in ("train.jsonl", "job.json", _STATE)
                             if (folder / name).exists()})  # fmt: skip
        self._folder = folder
        super().__init__(folder)

    def events(self) -> Iterator[dict[str, Any]]:
        yield from super().events()
        (self._folder / "state").mkdir(exist_ok=True)
        (self._folder / _STATE).write_bytes(str(len(self.folders)).encode())


def _claim(store: Store, owner: str) -> Job:
    claimed = store.jobs.claim(owner, "queued")
    assert claimed is not None
    return claimed


def test_a_job_moves_from_machine_to_machine(
    stores: list[Store], tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.worker.training_run.LocalTrainerProcess", _Stateful)
    monkeypatch.setattr(_Stateful, "folders", [])
    here, there = stores
    data = "".join(json.dumps(example) + "\n" for example in EXAMPLES).encode()
    job = here.jobs.create(**{**JOB, "base": str(tiny_base), "training_file": put(here, data).id})
    folder = here.job_folder(job.id)
    validating = here.jobs.claim("one", "validating_files")
    assert validating is not None
    here.files.place(here.jobs.get(job.id).training_file, folder / "train.jsonl")
    assert here.job_states.save(job.id, validating.fencing_token, folder)
    here.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    _Stateful.rounds = [(steps(1, 3), 75), (steps(3, 5), 75), (steps(6, 6), 75)]
    for store, owner in ((there, "two"), (here, "one"), (there, "two")):
        TrainingRun(_claim(store, owner), context_of(store, tmp_path)).run()
    begun = _Stateful.folders
    assert [run["train.jsonl"] for run in begun] == [data] * 3
    assert [run.get(_STATE) for run in begun] == [None, b"1", b"2"]
    assert [metrics["step"] for metrics in here.jobs.metrics(job.id)] == [1, 2, 3, 4, 5, 6]


def test_the_state_of_a_paused_job_is_uploaded_and_that_of_a_lost_one_is_not(stores: list[Store]) -> None:
    here, there = stores
    job = here.jobs.create(**JOB)
    here.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    claimed = _claim(here, "one")
    state = here.job_folder(job.id) / _STATE
    state.parent.mkdir()
    with StateUploads(claimed, here, here.job_folder(job.id)):
        here.jobs.pause(job.id)
        state.write_bytes(b"paused")
    assert there.job_states.restore(job.id, there.job_folder(job.id))
    assert (there.job_folder(job.id) / _STATE).read_bytes() == b"paused"
    here.jobs.queue.release(job.id, "one")
    there.jobs.resume(job.id)
    _claim(there, "two")
    with StateUploads(claimed, here, here.job_folder(job.id)):
        state.with_suffix(".new").write_bytes(b"late")
        state.with_suffix(".new").replace(state)
    assert not there.job_states.restore(job.id, there.job_folder(job.id))
