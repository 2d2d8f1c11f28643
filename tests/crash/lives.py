"""Lives of one server: started fresh or forked from a zygote, and ended by SIGKILL."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

TESTS = Path(__file__).parents[1]
_READY_POLL_S = 0.02
_PATIENCE_S = 180
_FIRST_STARTUP_S = {False: 1.0, True: 5.0}  # forked, fresh; until one has been measured


@dataclass
class Life:
    """`connection`: to the supervisor of a forked server; `process`: of a fresh one."""

    pid: int
    started: float
    connection: socket.socket | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def is_fresh(self) -> bool:
        return self.process is not None

    def kill(self) -> None:
        _kill(self.pid)
        self.await_end()

    def await_end(self) -> None:
        if self.process:
            self.process.wait()
        elif self.connection:
            self.connection.recv(64)
            self.connection.close()


@dataclass
class Lives:
    """Of a server on `folder/data`, always at the same address. Start-up times in seconds, forked and fresh.

    `store`: the URL of its database; None: SQLite.
    """

    folder: Path
    base: Path
    store: str | None = None
    startup_s: dict[str, list[float]] = field(default_factory=lambda: {"forked": [], "fresh": []})
    life: Life | None = None

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "server.log"
        self._zygote_address, self._trainers = self.folder / "zygote", self.folder / "trainers"
        self._environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            "LUTHIER_BASE": str(self.base),
            "LUTHIER_PRECISION": "float32",
            "LUTHIER_THREADS": "1",
            "LUTHIER_WEBHOOK_HOSTS": "localhost",
            "LUTHIER_STORED_COMPLETIONS": "1000000",
            "OMP_NUM_THREADS": "1",
            **({"LUTHIER_STORE": self.store} if self.store else {}),
        }

    @contextmanager
    def zygote(self) -> Iterator[None]:
        """Runs meanwhile; at its end no server, trainer or fork is left."""
        self._trainers.mkdir()
        command = [sys.executable, "-m", "crash.zygote", str(self._zygote_address), str(self._trainers)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._environment)
        try:
            self._await(self._zygote_address.exists, process)
            yield
        finally:
            self.kill_server()
            process.communicate()

    def start(self, *, fresh: bool, worker: bool = True) -> None:
        arguments = ["serve", "--port", str(self.port), "--worker", "true" if worker else "false"]
        self.life = self.spawn(arguments, fresh=fresh)

    def spawn(self, arguments: list[str], *, fresh: bool = False) -> Life:
        """A process of the command line on the data folder."""
        arguments = [*arguments, "--data", str(self.folder / "data")]
        with self.log.open("ab") as log:
            if fresh:
                command = [sys.executable, "-m", "luthier", *arguments]
                process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
                return Life(process.pid, time.monotonic(), process=process)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(str(self._zygote_address))
            with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - no path of a file
                streams = [nothing.fileno(), log.fileno(), log.fileno()]
                socket.send_fds(connection, [json.dumps({"arguments": arguments}).encode()], streams)
            return Life(int(connection.recv(64)), time.monotonic(), connection=connection)

    def await_ready(self) -> None:
        assert self.life
        with httpx.Client() as http:
            self._await(lambda: _answers(http, f"{self.url}/ready"), self.life.process)
        kind = "fresh" if self.life.is_fresh else "forked"
        self.startup_s[kind].append(time.monotonic() - self.life.started)

    def expected_startup_s(self, *, fresh: bool) -> float:
        """The median of those so far."""
        seconds = self.startup_s["fresh" if fresh else "forked"]
        return median(seconds) if seconds else _FIRST_STARTUP_S[fresh]

    def kill_server(self, *, with_trainers: bool = False) -> None:
        if self.life is None:
            return
        trainers = self.trainers() if with_trainers else []
        for pid in [self.life.pid, *trainers]:
            _kill(pid)
        self.life.await_end()
        self.life = None

    def kill_trainers(self) -> int:
        """How many were killed."""
        return sum(_kill(pid) for pid in self.trainers())

    def trainers(self) -> list[int]:
        """The pids of trainers, those of a server that is gone included."""
        forked = [int(marker.name) for marker in self._trainers.iterdir()]
        return forked + [process.pid for process in psutil.process_iter(["cmdline"]) if self._is_trainer(process.info)]

    def _is_trainer(self, info: dict[str, Any]) -> bool:
        words = info["cmdline"] or []
        return "luthier.training" in words and words[-1].startswith(str(self.folder))

    def _await(self, condition: Any, process: "subprocess.Popen[bytes] | None") -> None:
        end = time.monotonic() + _PATIENCE_S
        while not condition():
            gone = process is not None and process.poll() is not None
            if gone or time.monotonic() > end:
                raise AssertionError(f"it did not start: {self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(_READY_POLL_S)


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
