"""The tracker interface: receives the metrics of one run step by step."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.language import say
from luthier.settings import Settings
from luthier.types.errors import LuthierError
from luthier.types.names import TRACKERS

DEFAULT_PROJECT = "luthier"
_PACKAGES = {"mlflow": "mlflow-skinny"}


@dataclass(frozen=True)
class TrackedRun:
    """`id`: the job's. `folder`: for what a tracker keeps on this machine. `config`: hyperparameters, model and files.

    `wandb_api_key` None: the run stays offline. `mlflow_uri` None: a database in `folder`.
    """

    id: str
    folder: str
    project: str = DEFAULT_PROJECT
    name: str | None = None
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    wandb_api_key: str | None = None
    mlflow_uri: str | None = None

    @property
    def title(self) -> str:
        return self.name or self.id

    def local_folder(self, tracker: str) -> Path:
        """The folder of one tracker, which exists."""
        folder = Path(self.folder) / tracker
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def run_of_job(job: Mapping[str, Any], settings: Settings, folder: Path) -> TrackedRun:
    """The run of a job, given as the API shows it."""
    key = settings.wandb_api_key
    names = ("model", "training_file", "validation_file", "seed")
    config = {name: job[name] for name in names if job.get(name) is not None}
    config |= {"method": (job.get("method") or {}).get("type", "supervised"), **(job.get("hyperparameters") or {})}
    return TrackedRun(
        id=job["id"],
        folder=str(folder),
        config=config,
        wandb_api_key=key.get_secret_value() if key else None,
        mlflow_uri=settings.mlflow_uri,
    )


class Tracker(Protocol):
    """One open run. `place`: its location for users, a URL or a folder."""

    place: str

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...


def open_tracker(name: str, run: TrackedRun) -> Tracker:
    """Raises LuthierError for a tracker that is not installed; errors of the tracker are raised as they are."""
    if name not in TRACKERS:
        raise LuthierError(
            say(f"'{name}' is not a tracker. Trackers: {', '.join(TRACKERS)}.",
                f"“{name}”不是实验跟踪工具。可用：{', '.join(TRACKERS)}。"))  # fmt: skip
    module = importlib.import_module(f"luthier.worker.trackers.{name}_tracker")
    try:
        tracker: Tracker = module.open_run(run)
    except ModuleNotFoundError as error:
        package = _PACKAGES.get(name, name)
        raise LuthierError(
            say(f"{name} is not installed here: pip install {package} ({error}).",
                f"此处未安装 {name}：pip install {package}（{error}）。")) from error  # fmt: skip
    return tracker


def numbers(data: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in the data of an event: its numbers except the step counts."""
    return {
        key: float(value)
        for key, value in data.items()
        if key not in ("step", "total_steps") and isinstance(value, int | float) and not isinstance(value, bool)
    }
