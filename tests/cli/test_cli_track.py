"""`luthier jobs track`: the metrics of an old job, from its events, in the order of its steps."""

import json
from collections.abc import Mapping

import pytest
from command_line import Run
from fake_api import FakeAPI, event, step_event

from luthier.worker.trackers import tracker as trackers
from luthier.worker.trackers.tracker import TrackedRun

pytestmark = pytest.mark.services


class RecordingTracker:
    """Keeps what it is sent."""

    place = "/runs/1"

    def __init__(self, name: str, run: TrackedRun) -> None:
        self.name, self.run, self.points, self.is_finished = name, run, dict[int, Mapping[str, float]](), False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.points[step] = metrics

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[RecordingTracker]:
    """The trackers that commands have opened."""
    recorded: list[RecordingTracker] = []

    def open_recording(name: str, run: TrackedRun) -> RecordingTracker:
        recorded.append(RecordingTracker(name, run))
        return recorded[-1]

    monkeypatch.setattr(trackers, "open_tracker", open_recording)
    return recorded


def test_an_old_job_is_sent_step_by_step(luthier: Run, api: FakeAPI, opened: list[RecordingTracker]) -> None:
    """More steps than a page of events has."""
    events = [event(0, "Created"), *(step_event(number, number, 150) for number in range(1, 151))]
    api.add_job("ftjob-1", events, [("succeeded", len(events))])
    ran = luthier("jobs", "track", "ftjob-1", "--to", "mlflow", "--project", "support", "--json")
    assert json.loads(ran.stdout) == {"job": "ftjob-1", "tracker": "mlflow", "place": "/runs/1", "steps": 150}
    (tracker,) = opened
    assert list(tracker.points) == list(range(1, 151))
    assert tracker.points[4] == {"train_loss": 0.5, "valid_loss": 0.75}
    assert tracker.is_finished
    assert (tracker.name, tracker.run.project, tracker.run.config["seed"]) == ("mlflow", "support", 1)


def test_a_job_without_metrics_is_an_error(luthier: Run, api: FakeAPI, opened: list[RecordingTracker]) -> None:
    api.add_job("ftjob-1", [event(0, "Created")], [("failed", 1)])
    ran = luthier("jobs", "track", "ftjob-1", "--to", "wandb")
    assert ran.exit_code == 2
    assert "ftjob-1 has no metrics" in ran.output
    assert opened == []
