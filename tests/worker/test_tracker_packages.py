"""The trackers' own packages: metrics are sent as the worker sends them, and read back from what each has kept.

`make test-trackers` installs the packages.
"""

import json
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from luthier.catalogue import Catalogue
from luthier.server.app import create_app
from luthier.settings import Settings
from luthier.store import Event, Store
from luthier.worker.trackers.live import tracked_runs
from luthier.worker.trackers.tracker import TrackedRun, numbers

pytestmark = pytest.mark.trackers
Metrics = dict[str, dict[int, float]]  # by name and step
STEPS = 5
# Of LevelDB's log, in bytes; the header of a record is as long as that of the file.
_BLOCK_BYTES, _HEADER_BYTES = 32768, 7
_WHOLE, _LAST = 1, 4  # kinds of parts that end a record


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With one job, whose metrics have values of every step and of some."""
    opened = Store(tmp_path / "data")
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    job = opened.jobs.create(
        model="gpt-4o-mini", base="tiny", training_file="file-1", seed=1, method=method, integrations=[]
    )
    for step in range(1, STEPS + 1):
        data: dict[str, float] = {"step": step, "total_steps": STEPS, "train_loss": 3.5 / step}
        data |= {"train_mean_token_accuracy": step / 7} | ({"valid_loss": 1 / step} if step % 2 == 0 else {})
        opened.jobs.record(job.id, Event(f"Step {step}", type="metrics", data=data, step=step))
    yield opened
    opened.close()


def api_metrics(store: Store, job_id: str) -> Metrics:
    app = create_app(Settings(data=store.models_folder.parent), store, Catalogue(store.models_folder))
    client = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1))
    series = client.get(f"/v1/luthier/jobs/{job_id}/metrics").json()["series"]
    return {name: dict(zip(of["step"], of["value"], strict=True)) for name, of in series.items()}


def send(name: str, store: Store) -> tuple[TrackedRun, str]:
    """Runs the child program of one tracker on the only job; where it keeps the run."""
    job = store.jobs.get(store.jobs.list(limit=1, after=None).data[0].id)
    run = replace(dict(tracked_runs(job, Settings(trackers=name), store))[name], tags=["blue"])
    points = [{"step": data["step"], "metrics": numbers(data)} for data in store.jobs.metrics(job.id)]
    lines = [{"tracker": name, "run": asdict(run)}, *points]
    child = subprocess.run(
        [sys.executable, "-P", "-m", "luthier.worker.trackers"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run, child.stdout.strip()


def read_tensorboard(run: TrackedRun, place: str) -> Metrics:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(place)
    events.Reload()
    return {name: {scalar.step: scalar.value for scalar in events.Scalars(name)} for name in events.Tags()["scalars"]}


def read_mlflow(run: TrackedRun, place: str) -> Metrics:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place)
    (run_record,) = client.search_runs([client.get_experiment_by_name(run.project).experiment_id])
    assert (run_record.data.params["n_epochs"], run_record.info.status) == ("2", "FINISHED")
    names = run_record.data.metrics
    return {
        name: {metric.step: metric.value for metric in client.get_metric_history(run_record.info.run_id, name)}
        for name in names
    }


def read_trackio(run: TrackedRun, place: str) -> Metrics:
    with closing(sqlite3.connect(Path(place) / f"{run.project}.db")) as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_name = ?", (run.title,)).fetchall()
    return _by_name((step, json.loads(metrics)) for step, metrics in rows)


def _by_name(points: Iterable[tuple[int, dict[str, float]]]) -> Metrics:
    metrics: Metrics = {}
    for step, values in points:
        for name, value in values.items():
            metrics.setdefault(name, {})[step] = value
    return metrics


def _log_records(path: Path) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, behind a header of its maker's."""
    content, position, record = path.read_bytes(), _HEADER_BYTES, b""
    while position < len(content):
        room = _BLOCK_BYTES - position % _BLOCK_BYTES
        if room < _HEADER_BYTES:
            position += room
            continue
        size, kind = struct.unpack_from("<HB", content, position + 4)  # behind a checksum
        position += _HEADER_BYTES
        record += content[position : position + size]
        position += size
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""


def read_wandb(run: TrackedRun, place: str) -> Metrics:
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = Path(place).glob("*.wandb")
    steps = []
    for record in map(Record.FromString, _log_records(path)):
        items = record.history.item
        values = {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in items}
        if values:
            own = {name: value for name, value in values.items() if not name.startswith("_")}
            steps.append((values["_step"], own))
    return _by_name(steps)


def read_swanlab(run: TrackedRun, place: str) -> Metrics:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record

    (path,) = Path(place).glob("run-*/*.swanlab")
    records = [Record.FromString(content) for content in _log_records(path)]
    scalars = [record.scalar for record in records if record.HasField("scalar")]
    return _by_name((scalar.step, {scalar.key: scalar.value.number}) for scalar in scalars)


READERS: dict[str, Callable[[TrackedRun, str], Metrics]] = {
    "mlflow": read_mlflow,
    "swanlab": read_swanlab,
    "tensorboard": read_tensorboard,
    "trackio": read_trackio,
    "wandb": read_wandb,
}


@pytest.mark.parametrize("name", READERS)
def test_what_a_tracker_keeps_is_what_the_api_shows(name: str, store: Store) -> None:
    run, place = send(name, store)
    if name == "mlflow":
        send(name, store)  # a job that is resumed goes on in its run
    expected, read_back = api_metrics(store, run.id), READERS[name](run, place)
    assert read_back.keys() == expected.keys()
    for metric, values in expected.items():
        assert read_back[metric] == pytest.approx(values, rel=1e-6), metric
