"""The actor: runs one trainer on its node, in its own folder, and returns the files that the trainer writes.

Independent of Ray. Nothing here waits for the trainer, so calls can be made one after another.
"""

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from luthier.store.job_states import snapshot, state_version
from luthier.training.job_spec import JobSpec
from luthier.training.protocol import MACHINE_FAULT
from luthier.worker import out_of_memory
from luthier.worker.trainer_process import LocalTrainerProcess

JOB, SAVED = "job", "saved"  # folders of an actor: where its trainer works, and links to its latest save
MODELS = ("base", "parent")  # fields of `JobSpec`, and folders of an actor for models that its node does not have
_LOCKS = ("actor.lock", f"{JOB}/trainer.lock")
_LOG_BYTES = 64 * 1024


class FileStatus(NamedTuple):
    """A file of a folder. `version` changes when the file is rewritten (mtime in ns, inode)."""

    path: str
    bytes: int
    version: tuple[int, int]


class Progress(NamedTuple):
    """`lines`: whole lines of the trainer's events. `saved`: the files of `SAVED`, if the trainer has saved its state.

    `exit_code` is None while the trainer runs; otherwise the other fields are complete.
    """

    lines: bytes
    saved: list[FileStatus] | None
    exit_code: int | None


class NodeTrainer:
    """Paths are relative to the actor's folder, which is in the temporary folder of its node."""

    def __init__(self) -> None:
        root = Path(tempfile.gettempdir()) / f"luthier-trainers-{os.getuid()}"
        root.mkdir(exist_ok=True, mode=0o700)
        with FileLock(root / "lock"):
            _delete_abandoned(root)
            self._folder = Path(tempfile.mkdtemp(dir=root))
            self._lock = FileLock(self._folder / _LOCKS[0], thread_local=False)
            self._lock.acquire(timeout=0)
        self._job = self._folder / JOB
        self._state_version: tuple[int, int] | None = None
        self._exit_code: int | None = None

    def host(self) -> str:
        return socket.gethostname()

    def has_folder(self, folder: str, files: list[FileStatus]) -> bool:
        """Whether this node has a model at the same path, as on a shared disk: files with the same names and sizes.

        A model of the same shape with other weights would pass, but the parity gate detects it.
        """
        present = {(file.path, file.bytes) for file in file_statuses(Path(folder))}
        return bool(present) and present == {(file.path, file.bytes) for file in files}

    def write(self, path: str, chunk: bytes) -> None:
        """Appends to a file."""
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(chunk)

    def start(self, models: Collection[str]) -> None:
        """Starts the trainer. `models`: those of `MODELS` that were transferred; the others are at the paths in the
        job."""
        folders = {name: str(self._folder / name) for name in models}
        replace(JobSpec.read(self._job), cache=None, **folders).write(self._job)  # type: ignore[arg-type]
        self._state_version = state_version(self._job)
        self._oom_kills = out_of_memory.count_kills()
        self._trainer = LocalTrainerProcess(self._job)
        self._trainer.start()
        threading.Thread(target=self._await_exit, daemon=True).start()

    def progress(self, offset: int) -> Progress:
        """The progress since `offset` bytes of the events and the last call.

        Each part is read after the one that depends on it: the exit code, the state, the events.
        """
        exit_code = self._exit_code
        saved = self._link_save()
        with suppress(FileNotFoundError), (self._job / "events.jsonl").open("rb") as file:
            file.seek(offset)
            lines = file.read()
            return Progress(lines[: lines.rfind(b"\n") + 1], saved, exit_code)
        return Progress(b"", saved, exit_code)

    def files(self, path: str) -> list[FileStatus]:
        return file_statuses(self._folder / path)

    def read(self, path: str, offset: int, most_bytes: int) -> bytes:
        with (self._folder / path).open("rb") as file:
            file.seek(offset)
            return file.read(most_bytes)

    def delete(self, path: str) -> None:
        shutil.rmtree(self._folder / path, ignore_errors=True)

    def stop(self) -> None:
        """Requests a graceful exit, with the state saved."""
        self._trainer.stop()

    def log_end(self) -> bytes:
        """The end of the trainer's log."""
        return (self._job / "trainer.log").read_bytes()[-_LOG_BYTES:]

    def close(self) -> None:
        """Ends the trainer, if it runs, and deletes the actor's folder."""
        if hasattr(self, "_trainer"):
            self._trainer.kill()
        self._lock.release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await_exit(self) -> None:
        for _ in self._trainer.events():  # the file has them too
            pass
        code = self._trainer.wait()
        if code == -signal.SIGKILL and (self._oom_kills is None or out_of_memory.count_kills() != self._oom_kills):
            code = MACHINE_FAULT  # out of memory on this node, which the worker cannot see
        self._exit_code = code

    def _link_save(self) -> list[FileStatus] | None:
        version = state_version(self._job)
        if version == self._state_version:
            return None
        self._state_version = version
        shutil.rmtree(self._folder / SAVED, ignore_errors=True)
        for _ in snapshot(self._job, self._folder / SAVED):
            pass
        return self.files(SAVED)


def file_statuses(folder: Path) -> list[FileStatus]:
    """Of all files below a folder, which may be absent."""
    statuses = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            version = status.st_mtime_ns, status.st_ino
            statuses.append(FileStatus(path.relative_to(folder).as_posix(), status.st_size, version))
    return statuses


def _delete_abandoned(root: Path) -> None:
    """Delete the folders of killed actors whose trainers have ended."""
    for folder in root.iterdir():
        if folder.is_dir() and not any(_is_locked(folder / name) for name in _LOCKS):
            shutil.rmtree(folder, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return True
    return False
