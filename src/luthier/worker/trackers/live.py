"""The trackers of a running job: one child process each, fed by a thread, so that nothing waits for them."""

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from luthier.settings import Settings
from luthier.store import Job, Store
from luthier.worker import job_messages
from luthier.worker.trackers.tracker import TrackedRun, numbers, run_of_job

_log = logging.getLogger(__name__)
_MAX_WAITING = 100_000  # queued points of a tracker that hangs
_FINISH_TIMEOUT_S = 60.0
_LOG_CHARACTERS = 300


class LiveTrackers:
    """The trackers of one job, while entered. Metrics of earlier runs of the job are sent first."""

    def __init__(self, job: Job, store: Store, settings: Settings) -> None:
        self._children = [_TrackerChild(name, run, job, store) for name, run in tracked_runs(job, settings, store)]
        self._earlier = store.jobs.metrics(job.id) if self._children else []
        self._last_step = 0

    def __enter__(self) -> "LiveTrackers":
        for child in self._children:
            child.start()
        for data in self._earlier:
            self.log(data)
        return self

    def __exit__(self, *_: object) -> None:
        """Returns immediately; the runs are finished in the background."""
        for child in self._children:
            child.end()

    def log(self, data: Mapping[str, Any]) -> None:
        """Send the data of a metrics event. A step that a resumed job repeats has been sent before."""
        if data["step"] <= self._last_step:
            return
        self._last_step = data["step"]
        for child in self._children:
            child.send({"step": data["step"], "metrics": numbers(data)})


def tracked_runs(job: Job, settings: Settings, store: Store) -> Iterator[tuple[str, TrackedRun]]:
    """The runs that a job requests (`integrations`), and the further ones of the settings."""
    run = run_of_job(job.to_api().model_dump(), settings, store.trackers_folder)
    requested = [entry["wandb"] for entry in job.integrations if entry.get("type") == "wandb"]
    for fields in requested:
        chosen = {name: fields[name] for name in ("project", "name", "entity", "tags") if fields.get(name)}
        yield "wandb", replace(run, **chosen)
    for name in settings.trackers:
        if name != "wandb" or not requested:
            yield name, run


class _TrackerChild:
    """One child process and the thread that feeds it."""

    def __init__(self, name: str, run: TrackedRun, job: Job, store: Store) -> None:
        self._name, self._run, self._job_id, self._store = name, run, job.id, store
        self._points: queue.Queue[dict[str, Any] | None] = queue.Queue(_MAX_WAITING)

    def start(self) -> None:
        threading.Thread(target=self._feed, daemon=True, name=f"tracker {self._name}").start()

    def send(self, point: dict[str, Any] | None) -> None:
        with suppress(queue.Full):
            self._points.put_nowait(point)

    def end(self) -> None:
        self.send(None)

    def _feed(self) -> None:
        try:
            error = self._run_child()
        except (OSError, subprocess.SubprocessError) as failure:
            error = str(failure)
        if error is not None:
            _log.warning("the tracker %s of %s failed: %s", self._name, self._job_id, error)
            self._store.jobs.record(self._job_id, job_messages.tracker_failed(self._name, self._without_path(error)))

    def _without_path(self, text: str) -> str:
        """Replace the path of the data folder, whose location clients must not see."""
        return text.replace(f"{self._store.trackers_folder.parent}/", "")

    def _run_child(self) -> str | None:
        """Run the child process. Returns the reason of a failure; None on success."""
        command = [sys.executable, "-P", "-m", "luthier.worker.trackers"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as child:  # type: ignore[call-overload]
            log: list[str] = []
            reader = threading.Thread(target=lambda: log.extend(child.stderr), daemon=True)
            reader.start()
            try:
                self._write(child.stdin, [{"tracker": self._name, "run": asdict(self._run)}])
                place = child.stdout.readline().strip()
                if place:
                    self._store.jobs.record(self._job_id, job_messages.tracked(self._name, self._without_path(place)))
                    self._write(child.stdin, iter(self._points.get, None))
                child.stdin.close()
                code = child.wait(_FINISH_TIMEOUT_S)
            except BrokenPipeError:
                code = child.wait(_FINISH_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                return f"it had not finished after {_FINISH_TIMEOUT_S:.0f} s"
            reader.join()
        last = next((line.strip() for line in reversed(log) if line.strip()), f"exit code {code}")
        return last[-_LOG_CHARACTERS:] if code else None

    @staticmethod
    def _write(pipe: Any, documents: Iterable[dict[str, Any]]) -> None:
        for document in documents:
            pipe.write(json.dumps(document) + "\n")
            pipe.flush()
