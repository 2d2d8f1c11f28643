"""`luthier serve` on a data folder of its own, and a job on it: for benchmarks that go the way of users."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI

MODEL = "gpt-4o-mini-2024-07-18"


@contextmanager
def serve_process(data: Path, settings: Mapping[str, str] = {}) -> Iterator[tuple[OpenAI, int]]:
    """(client, pid) of the server, which ends with the block. `settings`: variables of the environment."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `kill` ends the block, too, and so the server
    command = [sys.executable, "-m", "luthier", "serve", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | dict(settings)
    )
    try:
        address = data / "server.json"
        while not (address.exists() and address.read_text()):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
            time.sleep(0.2)
        yield OpenAI(**json.loads(address.read_text()), max_retries=0, timeout=900), process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def serve(data: Path, settings: Mapping[str, str] = {}) -> Iterator[OpenAI]:
    """As `serve_process`, the client alone."""
    with serve_process(data, settings) as (client, _):
        yield client


def upload_pairs(client: OpenAI, count: int = 20) -> str:
    """The id of a training file of `count` questions with answers."""
    turns = [[{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": f"{n + 1}"}] for n in range(count)]
    lines = "".join(json.dumps({"messages": pair}) + "\n" for pair in turns)
    return client.files.create(file=("train.jsonl", io.BytesIO(lines.encode())), purpose="fine-tune").id


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def fine_tune(client: OpenAI, train: Path, seed: int, n_epochs: int | str) -> str:
    """The model's name. A batch has four examples, as in quickstart."""
    file = client.files.create(file=train, purpose="fine-tune")
    hyperparameters = {"batch_size": 4, "n_epochs": n_epochs}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id, seed=seed, method=method)
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(1)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if not job.fine_tuned_model:
        raise SystemExit(f"the job {job.status}: {job.error}")
    return job.fine_tuned_model
