"""The trainer as a child program: started in a process group of its own, heard line by line, ended for certain.

If this process dies, however it dies, the pipe to the child closes, and the child saves its state and ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Child:
    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "luthier.training", "--stop-with-parent", str(folder)]
        with (folder / "trainer.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def events(self) -> Iterator[dict[str, Any]]:
        """What the trainer says, until it ends."""
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # a trainer that is killed may leave half a line
                yield json.loads(line)

    def stop(self) -> None:
        """Ask it to save its state and end."""
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it now, with whatever it started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        return code


def earlier_events(folder: Path) -> Iterator[dict[str, Any]]:
    """What an earlier run of the trainer said; its listener may have died before hearing the end of it."""
    path = folder / "events.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # the last line may have been cut off
                yield json.loads(line)
