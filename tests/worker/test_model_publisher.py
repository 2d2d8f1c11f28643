"""The end of a job, with a trainer that has finished and a parity gate that says what the test wants."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.rendering.parity_report import ParityReport
from luthier.store import Event, Store
from luthier.types.errors import JobError
from luthier.worker.handlers.job_handler import JobHandler, train_job
from store.test_store import JOB
from training.jobs import EXAMPLES
from worker.test_run import Script, context_of, steps


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


class Killed(BaseException):
    """Ends a worker as a signal does: nothing after it runs."""


def finished_job(store: Store, base: Path, monkeypatch: pytest.MonkeyPatch, runs: int) -> str:
    """A queued job whose trainer finishes at once, `runs` times."""
    monkeypatch.setattr("luthier.worker.training_run.LocalTrainerProcess", Script)
    job = store.jobs.create(**{**JOB, "base": str(base)})
    folder = store.job_folder(job.id)
    (folder / "train.jsonl").write_text("".join(json.dumps(example) + "\n" for example in EXAMPLES))
    model = folder / "checkpoints" / "step-20"
    model.mkdir(parents=True)
    AdapterMetadata().write(model)
    end: list[dict[str, Any]] = [
        {"type": "checkpoint", "step": 20, "folder": "step-20", "metrics": {}},
        {"type": "finished", "trained_tokens": 10},
    ]
    Script.rounds = [(steps(1, 20) + end, 0)] + [(end, 0)] * (runs - 1)
    store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    return job.id


def run_next(store: Store, tmp_path: Path) -> None:
    handler = JobHandler(context_of(store, tmp_path), "queued", train_job)
    claim = handler.claim("w", [])
    assert claim is not None
    claim.run()


def test_a_model_that_the_gate_refuses_is_kept_as_a_checkpoint(
    store: Store,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = finished_job(store, tiny_base, monkeypatch, 1)

    def refuse(*_: Any, **__: Any) -> ParityReport:
        raise JobError("parity_failed", "It differs. Try --precision float32.")

    monkeypatch.setattr("luthier.worker.parity.check", refuse)
    run_next(store, tmp_path)
    job = store.jobs.retrieve(job_id)
    assert (job.status, job.error and job.error.code, job.fine_tuned_model) == ("failed", "parity_failed", None)
    (checkpoint,) = store.jobs.checkpoints(job_id, limit=9, after=None).data
    name = checkpoint.fine_tuned_model_checkpoint
    assert (checkpoint.step_number, name.rpartition(":")[2]) == (20, "ckpt-step-20")
    assert job.error
    assert (
        job.error.message == f"It differs. Try --precision float32. The trained model is kept as the checkpoint {name}."
    )
    model = store.models.find(name)
    assert model
    assert model.adapter.is_dir()


@pytest.mark.parametrize("eight_bits", [False, True])
def test_an_event_says_that_weights_are_served_in_8_bits(
    store: Store, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eight_bits: bool
) -> None:
    job_id = finished_job(store, tiny_base, monkeypatch, 1)
    report = ParityReport(0.01, 9, 3, 0, eight_bits=eight_bits)
    monkeypatch.setattr("luthier.worker.parity.check", lambda *_, **__: report)
    run_next(store, tmp_path)
    messages = [event.message for event in store.jobs.events(job_id, limit=20, after=None).data]
    assert any("served in 8 bits" in message for message in messages) is eight_bits


def test_a_gate_that_ends_the_worker_is_not_tried_for_ever(
    store: Store,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = finished_job(store, tiny_base, monkeypatch, 4)
    checks = 0

    def end_worker(*_: Any, **__: Any) -> ParityReport:
        nonlocal checks
        checks += 1
        raise Killed

    monkeypatch.setattr("luthier.worker.parity.check", end_worker)
    for _ in range(3):
        with pytest.raises(Killed):
            run_next(store, tmp_path)
        assert store.jobs.retrieve(job_id).status == "running"
    run_next(store, tmp_path)
    job = store.jobs.retrieve(job_id)
    assert (job.status, job.error and job.error.code, checks) == ("failed", "parity_failed", 3)
    assert len(store.jobs.checkpoints(job_id, limit=9, after=None).data) == 1
