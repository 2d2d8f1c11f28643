"""Experiment trackers, without their packages: what they are sent; one that fails changes nothing for its job."""

import importlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.settings import Settings
from luthier.store import Event, Job, Store
from luthier.types.errors import LuthierError
from luthier.worker.trackers import tracker as trackers
from luthier.worker.trackers.live import LiveTrackers, tracked_runs
from luthier.worker.trackers.tracker import TrackedRun, numbers, open_tracker

POINTS = [
    {"step": step, "total_steps": 3, "train_loss": 3.5 / step, "train_mean_token_accuracy": 0.25} for step in (1, 2, 3)
]
PATIENCE_S = 120


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


def running_job(store: Store, integrations: list[dict[str, object]]) -> Job:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    created = store.jobs.create(
        model="gpt-4o-mini", base="tiny", training_file="file-1", seed=1, method=method, integrations=integrations
    )
    store.jobs.record(
        created.id, *(Event("Step", type="metrics", data=point, step=point["step"]) for point in POINTS[:1])
    )
    return store.jobs.get(created.id)


def test_numbers_are_the_metrics() -> None:
    assert numbers({**POINTS[0], "best": True, "note": "x"}) == {"train_loss": 3.5, "train_mean_token_accuracy": 0.25}


def test_runs_of_a_job(store: Store) -> None:
    """Integrations first; the settings' trackers beside them, and wandb once."""
    job = running_job(store, [{"type": "wandb", "wandb": {"project": "mine", "tags": ["a"]}}])
    settings = Settings(trackers="wandb,tensorboard", wandb_api_key="secret", mlflow_uri="http://m")
    runs = dict(tracked_runs(job, settings, store))
    assert list(runs) == ["wandb", "tensorboard"]
    assert (runs["wandb"].project, runs["wandb"].tags, runs["tensorboard"].project) == ("mine", ["a"], "luthier")
    assert runs["wandb"].wandb_api_key == "secret"
    assert runs["tensorboard"].config == {
        "model": "gpt-4o-mini", "training_file": "file-1", "seed": 1, "method": "supervised", "n_epochs": 2
    }  # fmt: skip
    with pytest.raises(ValueError, match="trackers"):
        Settings(trackers="neptune")


def test_a_tracker_that_fails_is_said_and_the_job_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In its child program: a package that cannot be imported. Nothing waits for it."""
    (tmp_path / "swanlab.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(trackers.__file__).parents[3]}")
    job = running_job(store, [])
    with LiveTrackers(job, store, Settings(trackers="swanlab")) as live:
        for point in POINTS:
            live.log(point)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        events = store.jobs.events(job.id, limit=20, after=None).data
        if any("The tracker swanlab failed" in event.message and event.level == "warn" for event in events):
            return
        time.sleep(0.1)
    raise AssertionError([event.message for event in events])


def test_a_live_run_gets_every_step_once(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Steps of an earlier run of the job first; a step that is taken again is not sent again."""
    (tmp_path / "trackio.py").write_text(
        "import pathlib\n"
        "class Run:\n"
        "    def log(self, metrics, step):\n"
        "        pathlib.Path('steps').open('a').write(f'{step} {metrics[\"train_loss\"]}\\n')\n"
        "    def finish(self): pathlib.Path('done').touch()\n"
        "def init(**options): return Run()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(trackers.__file__).parents[3]}")
    monkeypatch.chdir(tmp_path)
    job = running_job(store, [])
    with LiveTrackers(job, store, Settings(trackers="trackio")) as live:
        for point in POINTS:
            live.log(point)
    end = time.monotonic() + PATIENCE_S
    while not (tmp_path / "done").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert (tmp_path / "steps").read_text().splitlines() == [
        f"{point['step']} {point['train_loss']}" for point in POINTS
    ]
    messages = [event.message for event in store.jobs.events(job.id, limit=20, after=None).data]
    assert "Metrics go to trackio: trackers/trackio" in messages


def test_a_tracker_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(run: TrackedRun) -> None:
        raise ModuleNotFoundError("No module named 'mlflow'")

    monkeypatch.setattr(importlib.import_module("luthier.worker.trackers.mlflow_tracker"), "open_run", missing)
    with pytest.raises(LuthierError, match="pip install mlflow-skinny"):
        open_tracker("mlflow", TrackedRun("ftjob-1", str(tmp_path)))
