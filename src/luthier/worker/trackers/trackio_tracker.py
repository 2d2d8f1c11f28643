"""trackio: a database file per project on this machine (`trackio show --project PROJECT`)."""

import os
from collections.abc import Mapping
from typing import Any

from luthier.worker.trackers.tracker import TrackedRun


class TrackioRun:
    def __init__(self, run: TrackedRun) -> None:
        self.place = str(run.local_folder("trackio"))
        os.environ["TRACKIO_DIR"] = self.place  # read when the package is imported
        import trackio

        self._run: Any = trackio.init(project=run.project, name=run.title, config=run.config, resume="allow")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._run.finish()


def open_run(run: TrackedRun) -> TrackioRun:
    return TrackioRun(run)
