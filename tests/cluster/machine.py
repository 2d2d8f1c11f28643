"""A program of Luthier on a machine of its own: a data folder, a log, and what runs below it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

_PROGRAMS = ("luthier.training", "luthier.worker.ray_trainer")


class Machine:
    """`inside`: a command that runs the program in a place of its own, such as a network namespace."""

    def __init__(self, folder: Path, variables: dict[str, str], *command: str, inside: Sequence[str] = ()) -> None:
        self.data, self._log = folder / "data", folder / "log"
        folder.mkdir(exist_ok=True)
        environment = os.environ | variables | {"LUTHIER_DATA": str(self.data)}
        with self._log.open("ab") as out:
            words = [*inside, sys.executable, "-m", "luthier", *command]
            self.process = subprocess.Popen(words, env=environment, stdout=out, stderr=out)

    def address(self) -> str:
        """Of a server, once it listens."""
        while not (address := re.search(r"listening on (\S+)/v1", self._log.read_text())):
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.1)
        return address[1]

    def kill(self) -> None:
        """With its trainer, as a machine dies."""
        if self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                process.kill()
        self.process.wait()


def trained_steps(pid: int) -> Iterator[int]:
    """Steps so far of each trainer, and each driver of one, among the descendants of a process."""
    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in descendants:
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(word in _PROGRAMS for word in words):
            yield _last_step(Path(words[-1]) / "events.jsonl")


def _last_step(events: Path) -> int:
    """Of a file that may be written at the moment, or not be there yet; 0 without any."""
    try:
        lines = events.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError:
        return 0
    steps = [json.loads(line).get("step", 0) for line in lines if line.endswith("\n") and '"metrics"' in line]
    return max(steps, default=0)
