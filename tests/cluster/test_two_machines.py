"""Two machines share PostgreSQL and a bucket, and no folder: a worker dies with its machine, the other goes on."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from postgres_server import PostgresServer
from s3_server import REASON, s3_server
from through_api import create, finished, losses, upload, wait

pytest.importorskip("nanio", reason=REASON)
pytestmark = pytest.mark.postgres
_SETTINGS = {"hyperparameters": {"n_epochs": 8, "batch_size": 1}, "seed": 3}


class Machine:
    """A program of Luthier with a data folder of its own."""

    def __init__(self, folder: Path, variables: dict[str, str], *command: str) -> None:
        self.data, self._log = folder / "data", folder / "log"
        folder.mkdir()
        environment = os.environ | variables | {"LUTHIER_DATA": str(self.data)}
        with self._log.open("ab") as out:
            command = (sys.executable, "-m", "luthier", *command)
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def client(self) -> OpenAI:
        while not (address := re.search(r"listening on (\S+)", self._log.read_text())):
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.1)
        return OpenAI(base_url=address[1], api_key="one", max_retries=2, timeout=120)

    def kill(self) -> None:
        """With its trainer, as a machine dies."""
        if self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                process.kill()
        self.process.wait()


@pytest.fixture(name="variables")
def _variables(tiny_base: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings that all machines have."""
    try:
        postgres = PostgresServer()
    except (FileNotFoundError, KeyError) as error:
        pytest.skip(str(error))
    (tmp_path / "s3").mkdir()
    with postgres, s3_server(tmp_path / "s3") as variables:
        stores = {"LUTHIER_STORE": postgres.new_database(), "LUTHIER_BLOBS": "s3://bucket/prefix"}
        training = {"LUTHIER_PRECISION": "float32", "LUTHIER_THREADS": "1", "LUTHIER_API_KEYS": "one"}
        yield {**variables, **stores, **training, "LUTHIER_BASE": str(tiny_base)}


def test_a_job_outlives_its_machine(variables: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:

        def start(name: str, *command: str) -> Machine:
            machine = Machine(tmp_path / name, variables, *command)
            stack.callback(machine.kill)
            return machine

        server = start("server", "serve", "--port", "0", "--no-worker")
        client = server.client()
        file = upload(client)
        job = create(client, file, **_SETTINGS)
        first = start("first", "worker")
        wait(client, job.id, lambda _: len(losses(client, job.id)) > 30)
        first.kill()
        killed_at = len(losses(client, job.id))
        start("second", "worker")
        job, undisturbed = finished(client, job.id), finished(client, create(client, file, **_SETTINGS).id)
        assert killed_at < len(losses(client, undisturbed.id))
        assert losses(client, job.id) == losses(client, undisturbed.id)
        messages = [{"role": "user", "content": "number 3"}]
        answers = [
            client.chat.completions.create(
                model=str(model.fine_tuned_model), messages=messages, max_tokens=5, temperature=0
            )
            .choices[0]
            .message.content
            for model in (job, undisturbed)
        ]
        assert answers[0] == answers[1]
        assert len(list((server.data / "models").iterdir())) == 2  # fetched when they were asked for
