"""Synchronizes the worker's job folder with that of a trainer on another node."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luthier.store.job_states import files_to_go_on
from luthier.training.job_spec import JobSpec
from luthier.training.protocol import STOPPED
from luthier.types.durable_text import rename_durably
from luthier.worker.ray_trainer.node import JOB, MODELS, SAVED, FileStatus, NodeTrainer, file_statuses

_CHUNK_BYTES = 32 * 1024 * 1024
_POLL_S = 0.3
_EVENTS, _BEST = "events.jsonl", "checkpoints/best"
_STATES = "state/"


class Mirror:
    """Files that another file depends on are transferred first: a checkpoint before its event, and both before the
    state after them."""

    def __init__(self, folder: Path, node: NodeTrainer, emit: Callable[[bytes], None]) -> None:
        """`emit` gets each line of the trainer's events, once the job folder has it."""
        self._folder, self._node, self._emit = folder, node, emit
        self._versions: dict[str, FileStatus] = {}  # versions of the node's files that have been transferred
        self._offset = 0  # of the node's events

    def run(self, stop: threading.Event) -> int:
        """Run the trainer on the node until it ends, with its state saved if `stop` is set, and return its exit
        code."""
        if not self._send(stop):
            return STOPPED
        requested = False
        while True:
            if stop.is_set() and not requested:
                self._node.stop()
                requested = True
            progress = self._node.progress(self._offset)
            self._take_events(progress.lines)
            if progress.saved is not None:
                self._take_save(progress.saved)
            if progress.exit_code is not None:
                with (self._folder / "trainer.log").open("ab") as log:
                    log.write(self._node.log_end())
                return progress.exit_code
            time.sleep(_POLL_S)

    def _send(self, stop: threading.Event) -> bool:
        """Copy the job and missing models to the node, and start the trainer.

        Returns False if `stop` is set meanwhile.
        """
        self._offset = _drop_half_line(self._folder / _EVENTS)
        sources = [(f"{JOB}/{path.as_posix()}", self._folder / path) for path in files_to_go_on(self._folder)]
        models = list(self._models_to_send())
        for name, folder in models:
            sources += [(f"{name}/{file.path}", folder / file.path) for file in file_statuses(folder)]
        for target, source in sources:
            for chunk in _chunks(source):
                if stop.is_set():
                    return False
                self._node.write(target, chunk)
        self._versions = {file.path: file for file in self._node.files(JOB)}
        self._node.start([name for name, _ in models])
        return True

    def _models_to_send(self) -> Iterator[tuple[str, Path]]:
        spec = JobSpec.read(self._folder)
        for name in MODELS:
            folder = getattr(spec, name)
            if folder and not self._node.has_folder(folder, file_statuses(Path(folder))):
                yield name, Path(folder)

    def _take_events(self, lines: bytes) -> None:
        self._offset += len(lines)
        with (self._folder / _EVENTS).open("ab") as file:
            for line in lines.splitlines(keepends=True):
                fields = json.loads(line)
                if fields["type"] == "checkpoint":
                    self._take_checkpoint(fields["folder"])
                file.write(line)
                file.flush()
                self._emit(line)

    def _take_checkpoint(self, name: str) -> None:
        """Fetch a folder below `checkpoints/`, which the worker then moves away."""
        path = f"checkpoints/{name}"
        self._fetch_folder(f"{JOB}/{path}", path)
        if path != _BEST:
            self._node.delete(f"{JOB}/{path}")

    def _take_save(self, saved: list[FileStatus]) -> None:
        """Fetch the state and the best checkpoint so far, which it names; other checkpoints are fetched with their
        events."""
        if any(file.path.startswith(f"{_BEST}/") and self._versions.get(file.path) != file for file in saved):
            self._fetch_folder(f"{SAVED}/{_BEST}", _BEST)
        with (self._folder / _EVENTS).open("rb") as file:
            os.fsync(file.fileno())
        for status in saved:
            if status.path.startswith(_STATES) and self._versions.get(status.path) != status:
                target = self._folder / status.path
                new = target.with_name(f"{target.name}.new")
                self._fetch(f"{SAVED}/{status.path}", new)
                rename_durably(new, target)
        latest = {status.path: status for status in saved}
        for path in self._versions.keys() - latest:
            if path.startswith(_STATES):  # that of an earlier claim, which the trainer has replaced
                (self._folder / path).unlink(missing_ok=True)
        self._versions = latest

    def _fetch_folder(self, source: str, path: str) -> None:
        """Fetch the folder `path`, which appears complete or not at all."""
        target = self._folder / path
        new = target.with_name(f"{target.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        for status in self._node.files(source):
            self._fetch(f"{source}/{status.path}", new / status.path)
        shutil.rmtree(target, ignore_errors=True)
        rename_durably(new, target)

    def _fetch(self, source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while chunk := self._node.read(source, file.tell(), _CHUNK_BYTES):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())


def _chunks(path: Path) -> Iterator[bytes]:
    """The chunks of a file: at least one, which is empty for an empty file."""
    with path.open("rb") as file:
        yield file.read(_CHUNK_BYTES)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _drop_half_line(path: Path) -> int:
    """Remove an incomplete last line, as left by a power cut. Returns the remaining number of bytes."""
    if not path.exists():
        return 0
    size = path.read_bytes().rfind(b"\n") + 1
    os.truncate(path, size)
    return size
