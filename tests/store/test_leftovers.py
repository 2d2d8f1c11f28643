"""What may go, and above all what may not."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import Event, Job, Store
from luthier.store.leftovers import Leftover
from store.test_store import JOB

DAY_S = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def a_job(store: Store, **fields: object) -> Job:
    return store.jobs.get(store.jobs.create(**{**JOB, **fields}).id)


def a_checkpoint(store: Store, job: Job, step: int) -> str:
    source = store.job_folder(job.id) / f"step-{step}"
    source.mkdir()
    (source / "adapter_model.safetensors").write_bytes(b"x" * 100 * step)
    fields = {"metrics": {}, "source": source, "call_form": None, "event": None, "keep": 99}
    return str(store.models.add_checkpoint(job, name=f"ft:tiny:personal::{job.id[-6:]}:{step}", step=step, **fields))


def end(store: Store, job: Job, model: str | None = None) -> None:
    status = "succeeded" if model else "failed"
    store.jobs.transition(job.id, ("validating_files",), status, Event("over"), fine_tuned_model=model)


def aged(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"kernel")
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


def _find(store: Store, tmp_path: Path, *alias_targets: str) -> list[Leftover]:
    return store.leftovers.find(tmp_path / "cache", alias_targets)


def test_job_folders_keep_what_a_lineage_needs(store: Store, tmp_path: Path) -> None:
    over, running = a_job(store), a_job(store)
    for job in (over, running):
        folder = store.job_folder(job.id)
        (folder / "state").mkdir()
        for name in ("job.json", "trainer.log", "trainer.lock", "state/state.safetensors"):
            (folder / name).write_bytes(b"12345")
    end(store, over)
    gone = store.job_folder(running.id).with_name("ftjob-of-a-deleted-row")
    aged(gone / "job.json", 1)
    os.utime(gone, (time.time() - DAY_S,) * 2)
    gone.with_name("ftjob-that-is-being-made").mkdir()
    leftovers = _find(store, tmp_path)
    kinds = {(leftover.kind, leftover.path.name, leftover.bytes) for leftover in leftovers}
    assert kinds == {("work-files", "state", 5), ("logs", "trainer.log", 5), ("work-files", gone.name, 6)}
    assert all(leftover.delete() for leftover in leftovers)
    assert _find(store, tmp_path) == []
    assert {path.name for path in store.job_folder(over.id).iterdir()} == {"job.json", "trainer.lock"}
    assert (store.job_folder(running.id) / "state" / "state.safetensors").exists()


def test_a_checkpoint_goes_only_if_nothing_refers_to_it(store: Store, tmp_path: Path) -> None:
    job, unfinished = a_job(store), a_job(store)
    a_checkpoint(store, unfinished, 1)
    unused, shared, evaluated, continued, aliased, final = (a_checkpoint(store, job, step) for step in range(1, 7))
    end(store, job, final)
    store.permissions.create(shared, ["proj_other"])
    values = {"against": [], "functions": 1, "definitions": ["none"], "validation_file": "file-1"}
    store.evaluations.create(model=evaluated, **values)
    a_job(store, parent=continued)
    leftovers = _find(store, tmp_path, f"upstream:|{aliased}")
    assert [(leftover.kind, leftover.name, leftover.bytes) for leftover in leftovers] == [("checkpoints", unused, 100)]
    assert leftovers[0].delete()
    assert not leftovers[0].delete()
    assert store.models.find(unused) is None
    assert len(store.models.list()) == 6


def test_a_full_model_that_others_are_based_on_stays(store: Store, tmp_path: Path) -> None:
    job = a_job(store)
    full = a_checkpoint(store, job, 1)
    end(store, job)
    base = f"tuned:{store.models.find(full).adapter.name}"
    based = a_job(store, base=base)
    assert _find(store, tmp_path) == []
    end(store, based)
    assert [leftover.name for leftover in _find(store, tmp_path)] == [full]


def test_kernels_go_after_a_month_without_use(store: Store, tmp_path: Path) -> None:
    old = aged(tmp_path / "cache" / "kernels" / "old.so", 31)
    aged(tmp_path / "cache" / "kernels" / "new.so", 29)
    assert [leftover.path for leftover in _find(store, tmp_path)] == [old]


def test_an_export_goes_if_it_can_be_made_again(store: Store, tmp_path: Path) -> None:
    job = a_job(store)
    final = a_checkpoint(store, job, 1)
    end(store, job, final)
    for name in ("untouched", "edited", "of-a-model-that-is-gone"):
        aged(tmp_path / name / "model.gguf", 0)
        model = "ft:gone" if name.startswith("of") else final
        store.exports.add(model, "gguf", tmp_path / name, [])
    (tmp_path / "edited" / "notes.md").write_text("mine")
    os.utime(tmp_path / "edited" / "notes.md", (time.time() + DAY_S,) * 2)
    store.exports.add(final, "gguf", tmp_path / "moved-away", [])
    assert [(leftover.kind, leftover.path.name) for leftover in _find(store, tmp_path)] == [("exports", "untouched")]
