"""Workers in processes of their own: beside a server that comes and goes, and without one."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from through_api import (
    PATIENCE_S,
    all_events,
    client_of,
    create,
    finished,
    losses,
    messages,
    running_server,
    serve,
    upload,
    wait,
)

SETTINGS = {"hyperparameters": {"n_epochs": 20, "batch_size": 1}, "seed": 3}


@contextmanager
def worker_process(data: Path, base: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`luthier worker` as a person starts it; killed in the end if it still runs."""
    environment = os.environ | {"LUTHIER_BASE": str(base), "LUTHIER_PRECISION": "float32", "LUTHIER_THREADS": "1"}
    with log.open("ab") as out:
        command = [sys.executable, "-m", "luthier", "worker", "--data", str(data)]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def undisturbed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The losses of the job of SETTINGS where nothing interrupts it."""
    with running_server(tmp_path_factory.mktemp("data"), tiny_base, precision="float32", threads=1) as server:
        client = client_of(server)
        return losses(client, finished(client, create(client, upload(client), **SETTINGS).id).id)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_job_goes_on_while_its_server_restarts(
    tmp_path: Path, tiny_base: Path, undisturbed: list[tuple[int, float]], how: signal.Signals
) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    server, client = serve(data, tiny_base, log, "--no-worker")
    job = create(client, upload(client), **SETTINGS)
    time.sleep(1.5)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "validating_files"  # nobody works
    with worker_process(data, tiny_base, log) as worker:
        wait(client, job.id, lambda _: len(losses(client, job.id)) > 30)
        server.send_signal(how)
        server.wait(PATIENCE_S)
        server, client = serve(data, tiny_base, log)  # with a worker of its own, which must not take the job
        job = finished(client, job.id)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
    assert losses(client, job.id) == undisturbed
    events = messages(client, job.id)
    assert events.count("Fine-tuning job started") == 1
    assert not any("back in the queue" in message or "The trainer died" in message for message in events)
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0


def test_another_worker_takes_over_at_once(
    tmp_path: Path, tiny_base: Path, undisturbed: list[tuple[int, float]]
) -> None:
    """Of one that was killed, well before its lease would have expired."""
    data, log = tmp_path / "data", tmp_path / "log"
    server, client = serve(data, tiny_base, log, "--no-worker")
    job = create(client, upload(client), **SETTINGS)
    with worker_process(data, tiny_base, log) as first, worker_process(data, tiny_base, log) as second:
        wait(client, job.id, lambda _: len(losses(client, job.id)) > 30)
        training = first if psutil.Process(first.pid).children() else second
        with closing(sqlite3.connect(data / "luthier.db")) as database:
            ((lease_until,),) = database.execute("SELECT lease_until FROM jobs").fetchall()
        training.kill()
        training.wait(PATIENCE_S)
        job = finished(client, job.id)
    requeued, *_ = [event for event in all_events(client, job.id) if "back in the queue" in event.message]
    assert requeued.created_at < lease_until
    assert any("Training resumes after" in text for text in messages(client, job.id))
    assert losses(client, job.id) == undisturbed
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0


def test_a_worker_alone_trains_what_waits(tmp_path: Path, tiny_base: Path) -> None:
    """No server runs while the job does; batches need none either."""
    data, log = tmp_path / "data", tmp_path / "log"
    server, client = serve(data, tiny_base, log, "--no-worker")
    job = create(client, upload(client), hyperparameters={"n_epochs": 1, "batch_size": 12})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
    with worker_process(data, tiny_base, log) as worker:
        folder = data / "models"
        end = time.monotonic() + PATIENCE_S
        while not any(folder.iterdir()) or any((data / "batches").iterdir()):
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        server, client = serve(data, tiny_base, log, "--no-worker")
        finished(client, job.id)
        assert client.batches.retrieve(batch.id).request_counts.completed == 1
        worker.send_signal(signal.SIGINT)
        assert worker.wait(PATIENCE_S) == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0
