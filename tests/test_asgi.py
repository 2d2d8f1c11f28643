"""`luthier.asgi:app` under an ASGI server: import without side effects, a worker in the lifespan, errors at start."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from luthier.runtime import server_lock
from luthier.settings import Settings
from server.serving import until
from through_api import PATIENCE_S, create, finished, upload


def _uvicorn(data: Path, base: Path, log: Path, **variables: str) -> tuple[subprocess.Popen[bytes], str]:
    environment = os.environ | {"LUTHIER_DATA": str(data), "LUTHIER_BASE": str(base), **variables}
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("ab") as out:
        descriptor, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "luthier.asgi:app", "--fd", str(descriptor)]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, pass_fds=[descriptor])
        return process, f"http://127.0.0.1:{port}"


def test_import_opens_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"LUTHIER_DATA": str(tmp_path / "data"), "LUTHIER_PORT": "not a port"}
    subprocess.run([sys.executable, "-c", "import luthier.asgi"], env=environment, check=True)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("worker", [True, False])
def test_any_asgi_server_serves_it(tmp_path: Path, tiny_base: Path, worker: bool) -> None:
    """With its worker, or without one where the settings say that workers run apart."""
    log = tmp_path / "log"
    process, url = _uvicorn(tmp_path / "data", tiny_base, log, LUTHIER_WORKER=str(worker).lower(), LUTHIER_THREADS="1")

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/health").is_success
        except httpx.TransportError:
            return False

    try:
        until(ready, PATIENCE_S)
        client = OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        job = create(client, upload(client), hyperparameters={"n_epochs": 1, "batch_size": 12})
        assert any((tmp_path / "data" / "workers").glob("*.lock")) is worker
        if worker:
            finished(client, job.id)
        else:
            assert client.fine_tuning.jobs.retrieve(job.id).status == "validating_files"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    assert not list((tmp_path / "data" / "workers").glob("*.lock"))


def test_a_folder_in_use_ends_the_server(tmp_path: Path, tiny_base: Path) -> None:
    with server_lock(Settings(data=tmp_path / "data")):
        process, _ = _uvicorn(tmp_path / "data", tiny_base, tmp_path / "log")
        assert process.wait(PATIENCE_S) != 0
    assert "is already running" in (tmp_path / "log").read_text()
