"""SwanLab: offline logs on this machine (`swanlab watch FOLDER`, or `swanlab sync` to send them)."""

from collections.abc import Mapping
from typing import Any

from luthier.worker.trackers.tracker import TrackedRun


class SwanlabRun:
    def __init__(self, run: TrackedRun) -> None:
        import swanlab

        self.place = str(run.local_folder("swanlab"))
        self._run: Any = swanlab.init(
            project=run.project,
            experiment_name=run.title,
            tags=run.tags,
            config=run.config,
            logdir=self.place,
            mode="offline",
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._run.finish()


def open_run(run: TrackedRun) -> SwanlabRun:
    return SwanlabRun(run)
