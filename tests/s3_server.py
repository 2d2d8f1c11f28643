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
    (folder / "bucket").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET}
    command = [sys.executable, "-m", "nanio", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder), "--log-level", "error", "--no-access-log"]
    process = subprocess.Popen(command, env=environment)
    try:
        while not _answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        address = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
        yield {**address, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
