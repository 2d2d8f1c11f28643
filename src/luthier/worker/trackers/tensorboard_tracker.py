"""TensorBoard: event files in a folder per project and run (`tensorboard --logdir FOLDER`)."""

import time
from collections.abc import Mapping
from typing import Any

from luthier.worker.trackers.tracker import TrackedRun


class TensorboardRun:
    def __init__(self, run: TrackedRun) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.local_folder("tensorboard") / run.project / run.title
        folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = EventFileWriter(str(folder))
        self.place = str(folder)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def finish(self) -> None:
        self._writer.close()


def open_run(run: TrackedRun) -> TensorboardRun:
    return TensorboardRun(run)
