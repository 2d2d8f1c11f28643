"""`luthier serve` on a data folder of its own, and a job on it: for benchmarks that go the way of users."""

import json
import os
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
def serve(data: Path, settings: Mapping[str, str] = {}) -> Iterator[OpenAI]:
    """A client of the server, which ends with the block. `settings`: variables of the environment."""
    command = [sys.executable, "-m", "luthier", "serve", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | dict(settings)
    )
    try:
        address = data / "server.json"
        while not address.exists():
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
            time.sleep(0.2)
        yield OpenAI(**json.loads(address.read_text()), max_retries=0, timeout=900)
    finally:
        process.terminate()
        process.wait()


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
