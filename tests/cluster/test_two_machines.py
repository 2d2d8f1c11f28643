"""Two machines share PostgreSQL and a bucket, and no folder: a worker dies with its machine, the other goes on."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from openai import OpenAI

from cluster.machine import Machine
from postgres_server import postgres_or_skip
from s3_server import REASON, s3_server
from through_api import create, finished, losses, upload, wait

pytest.importorskip("nanio", reason=REASON)
pytestmark = pytest.mark.postgres
_SETTINGS = {"hyperparameters": {"n_epochs": 8, "batch_size": 1}, "seed": 3}


@pytest.fixture(name="variables")
def _variables(tiny_base: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings that all machines have."""
    (tmp_path / "s3").mkdir()
    with postgres_or_skip() as postgres, s3_server(tmp_path / "s3") as variables:
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
        client = OpenAI(base_url=f"{server.address()}/v1", api_key="one", max_retries=2, timeout=120)
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
