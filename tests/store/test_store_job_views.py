"""Curves of a job and places in the queue, as the store computes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import Event, Store
from luthier.types.clock import Clock
from luthier.types.common import now


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def _job(store: Store, *, size_bytes: int = 100) -> str:
    source = store.files.folder / "upload"
    source.write_bytes(b"x" * size_bytes)
    file = store.files.create("train.jsonl", "fine-tune", source)
    return store.jobs.create(
        model="gpt-4o-mini",
        base="base",
        parent=None,
        training_file=file.id,
        validation_file=None,
        suffix=None,
        seed=1,
        method={"type": "supervised", "supervised": {"hyperparameters": {}}},
        integrations=[],
        metadata=None,
    ).id


def _step(step: int, total: int, **metrics: float) -> Event:
    data = {"step": step, "total_steps": total, **metrics}
    return Event(f"Step {step}", type="metrics", data=data, step=step)


def _curve(store: Store, steps: int) -> str:
    job_id = _job(store)
    store.jobs.record(job_id, *(_step(step, steps, **_metrics(step)) for step in range(1, steps + 1)))
    return job_id


def _metrics(step: int) -> dict[str, float]:
    return {"train_loss": float((step * 37) % 101)} | ({"valid_loss": step / 100} if step % 10 == 0 else {})


@pytest.mark.parametrize("points", [1, 7, 50, 103, 1000])
def test_buckets_keep_the_last_step_and_the_extremes(store: Store, points: int) -> None:
    losses = [float((step * 37) % 101) for step in range(1, 104)]
    curve = store.job_metrics.series(_curve(store, 103), after=0, points=points)["train_loss"]
    assert len(curve.step) <= points
    assert (curve.step[-1], curve.value[-1]) == (103, losses[-1])
    assert (min(curve.minimum), max(curve.maximum)) == (min(losses), max(losses))
    assert curve.value == [losses[step - 1] for step in curve.step]


def test_what_is_new_after_a_step(store: Store) -> None:
    job_id = _curve(store, 30)
    series = store.job_metrics.series(job_id, after=25, points=1000)
    assert series["train_loss"].step == [26, 27, 28, 29, 30]
    assert series["valid_loss"].step == [30]
    assert store.job_metrics.series(job_id, after=30, points=1000) == {}
    part = store.job_metrics.series(job_id, after=9, until=21, points=4)["train_loss"]
    assert part.step == [12, 15, 18, 21]
    assert store.job_metrics.series(job_id, after=9, until=9, points=4) == {}


def test_progress_reads_evenly_spaced_steps(store: Store) -> None:
    short, long, idle = _curve(store, 3), _curve(store, 90), _job(store)
    progress = store.job_metrics.progress([short, long, idle], points=10)
    assert set(progress) == {short, long}
    assert (progress[short].step, progress[short].total_steps, len(progress[short].losses)) == (3, 3, 3)
    assert (progress[long].step, len(progress[long].losses)) == (90, 10)
    assert progress[long].losses[0] == 37.0


def test_places_in_the_queue(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of a job's start follows from the bytes of files and the time that finished jobs took for theirs."""
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: 1_800_000_000.0, lambda: 0.0))
    first, second = _job(store), _job(store, size_bytes=50)
    assert {
        job_id: (place.ahead, place.estimated_start is None) for job_id, place in store.job_queue.places(1).items()
    } == {
        first: (0, False),
        second: (1, True),
    }
    done = _job(store, size_bytes=100)
    store.jobs.record(done, _step(1, 1, train_loss=1.0))
    store.jobs.transition(done, ["validating_files"], "succeeded", Event("done"), finished_at=now() + 200)
    store.jobs.transition(first, ["validating_files"], "running", Event("started"), estimated_finish=now() + 40)
    third = _job(store)
    places = store.job_queue.places(1)
    assert (places[second].ahead, places[third].ahead) == (1, 2)
    assert places[second].estimated_start == now() + 40
    assert places[third].estimated_start == now() + 40 + 100
