"""Servers for tests, and what tests do with jobs: all of it through the official client."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI

from luthier.runtime import LuthierServer
from luthier.settings import Settings
from training.jobs import EXAMPLES

OVER = ("succeeded", "failed", "cancelled")
PATIENCE_S = 900  # a busy machine may give a trainer next to nothing; a test that passes never waits so long


@contextmanager
def running_server(data: Path, base: Path | str, **settings: object) -> Iterator[LuthierServer]:
    """A server and its worker on a free port, with `base` behind every name of OpenAI's."""
    parameters = {"host": "127.0.0.1", "port": 0, "data": data, "base": str(base), **settings}
    with LuthierServer(Settings(**parameters)) as running:
        yield running


def client_of(running: LuthierServer, **options: object) -> OpenAI:
    key = str(options.pop("api_key", running.endpoint.api_key))
    return OpenAI(base_url=running.endpoint.base_url, api_key=key, max_retries=0, timeout=600, **options)


def serve(data: Path, base: Path, log: Path, *flags: str) -> tuple[subprocess.Popen[bytes], OpenAI]:
    """`luthier serve` as a person starts it."""
    environment = os.environ | {"LUTHIER_BASE": str(base), "LUTHIER_PRECISION": "float32", "LUTHIER_THREADS": "1"}
    command = [sys.executable, "-m", "luthier", "serve", "--port", "0", "--data", str(data), *flags]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    address = data / "server.json"
    address.unlink(missing_ok=True)
    end = time.monotonic() + PATIENCE_S
    while not address.exists() or not address.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    endpoint = json.loads(address.read_text())
    return process, OpenAI(base_url=endpoint["base_url"], api_key=endpoint["api_key"], max_retries=2)


def upload(client: OpenAI, lines: list[Any] | bytes = EXAMPLES, name: str = "train.jsonl") -> str:
    content = lines if isinstance(lines, bytes) else "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=(name, io.BytesIO(content)), purpose="fine-tune").id


def create(client: OpenAI, training_file: str, **parameters: Any):
    hyperparameters = parameters.pop("hyperparameters", {"n_epochs": 2, "batch_size": 4})
    parameters.setdefault("model", "gpt-3.5-turbo")
    return client.fine_tuning.jobs.create(training_file=training_file, hyperparameters=hyperparameters, **parameters)


def wait(client: OpenAI, job_id: str, until: Callable[[Any], bool] = lambda job: job.status in OVER):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if until(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{job_id} is still {job.status}: {messages(client, job_id)[-3:]}")


def finished(client: OpenAI, job_id: str):
    """The job once it has succeeded; a job that failed says why."""
    job = wait(client, job_id)
    assert job.status == "succeeded", job.error
    return job


def all_events(client: OpenAI, job_id: str) -> list[Any]:
    """Oldest first."""
    return list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1]


def messages(client: OpenAI, job_id: str) -> list[str]:
    return [event.message for event in all_events(client, job_id)]


def losses(client: OpenAI, job_id: str) -> list[tuple[int, float]]:
    metrics = [event.data for event in all_events(client, job_id) if event.type == "metrics"]
    return [(data["step"], data["train_loss"]) for data in metrics]
