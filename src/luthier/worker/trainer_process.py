"""The trainer as a process: a protocol, and its implementation on this machine.

A local trainer runs in a process group of its own. If the worker dies, however it dies, the pipe to the trainer
closes, and the trainer saves its state and exits.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol


class TrainerProcess(Protocol):
    """One run of the trainer on a job folder. `stop`, `kill` and `wait` may be called from any thread."""

    def start(self) -> None:
        """Start the process; returns once it exists. Raises OSError if it cannot be started."""

    def events(self) -> Iterator[dict[str, Any]]:
        """The trainer's events in order, until it exits; one iteration per run."""
        ...

    def stop(self) -> None:
        """Request a graceful exit: the trainer saves its state after the current step. Returns immediately."""

    def kill(self) -> None:
        """End the trainer and every process it started, without saving. Returns immediately."""

    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the trainer's first process, without GPU memory; None if the system does not report it."""
        ...

    def resident_bytes(self) -> int | None:
        """Current memory of all its processes; None if the system does not report it."""
        ...

    def wait(self) -> int:
        """Block until the trainer has exited, and return its exit code, negative for a signal."""
        ...


class LocalTrainerProcess:
    """`python -m luthier.training` as a subprocess; stderr goes to `trainer.log` in the job folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self) -> None:
        with (self._folder / "trainer.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def _command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "luthier.training", "--stop-with-parent", str(self._folder)]

    def events(self) -> Iterator[dict[str, Any]]:
        if self._process.stdout:
            yield from _complete_lines(self._process.stdout)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def peak_memory_bytes(self) -> int | None:
        return _memory_bytes(self._process.pid, "VmHWM")

    def resident_bytes(self) -> int | None:
        sizes = [_memory_bytes(pid, "VmRSS") for pid in _with_children(self._process.pid)]
        return sum(size or 0 for size in sizes) if any(sizes) else None

    def wait(self) -> int:
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return code


def _memory_bytes(pid: int, field: str) -> int | None:
    """A field of Linux's status of a process; None elsewhere, and for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(match[1]) * 1024 if match else None


def _with_children(pid: int) -> Iterator[int]:
    """The process and those that it started, at any depth."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text(encoding="ascii").split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            yield from _with_children(int(child))


def earlier_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Events of earlier runs in the job folder; the worker may have died before recording the last of them."""
    path = folder / "events.jsonl"
    if path.exists():
        with path.open("rb") as file:
            yield from _complete_lines(file)


def _complete_lines(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The complete lines; a killed trainer may leave a truncated last line, which is skipped."""
    for line in file:
        if line.endswith(b"\n"):
            yield json.loads(line)
