"""A small S3 server that checks signatures (nanio), in a folder and on a free port of the tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY, SECRET = "access-key-of-the-test", "secret-key-of-the-test"
REASON = "nanio, a small S3 server, is not installed: make test-s3"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment variables with which clients reach it. It has a bucket named `bucket`."""
    server = S3Server(folder)
    server.start()
    try:
        yield server.variables
    finally:
        server.kill()


class S3Server:
    """`variables`: those of the environment with which clients reach it. It has a bucket named `bucket`."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        (folder / "bucket").mkdir()
        self._folder, self._host = folder, host
        with socket.socket() as probe:
            probe.bind((host, 0))
            self._port: int = probe.getsockname()[1]
        address = {"AWS_ENDPOINT_URL": f"http://{host}:{self._port}", "AWS_REGION": "us-east-1"}
        self.variables = {**address, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def start(self) -> None:
        environment = {**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}
        command = [sys.executable, "-m", "nanio", "serve", "--host", self._host, "--port", str(self._port)]
        command += ["--data-dir", str(self._folder), "--log-level", "error", "--no-access-log"]
        self._process = subprocess.Popen(command, env=environment)
        while not _answers(self._host, self._port):
            assert self._process.poll() is None
            time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
