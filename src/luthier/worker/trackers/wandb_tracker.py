"""Weights & Biases: online with the server's key, else offline (`wandb sync` sends such a run later)."""

import os
from collections.abc import Mapping
from typing import Any

from luthier.worker.trackers.tracker import TrackedRun


class WandbRun:
    """The run has the job's id, so that a resumed job continues it."""

    def __init__(self, run: TrackedRun) -> None:
        if run.wandb_api_key:
            os.environ["WANDB_API_KEY"] = run.wandb_api_key  # `wandb.login` would write it into the home folder
        import wandb

        self._run: Any = wandb.init(
            id=run.id,
            project=run.project,
            entity=run.entity,
            name=run.title,
            tags=run.tags or None,
            config=run.config,
            dir=run.local_folder("wandb"),
            mode="online" if run.wandb_api_key else "offline",
            resume="allow",
        )
        self.place = self._run.url or str(self._run.dir).removesuffix("/files")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._run.finish()


def open_run(run: TrackedRun) -> WandbRun:
    return WandbRun(run)
