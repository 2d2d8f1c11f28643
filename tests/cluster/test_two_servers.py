"""Two `luthier serve` on one PostgreSQL and one data folder: what one of them begins, the other goes on with."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from postgres_server import PostgresServer, postgres_or_skip
from through_api import create, finished, losses, upload

pytestmark = pytest.mark.postgres
PATIENCE_S = 90


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_or_skip() as server:
        yield server


class Server:
    """A `luthier serve` as a person starts it."""

    def __init__(self, url: str, data: Path, base: Path, log: Path, *flags: str) -> None:
        self._log = log
        environment = os.environ | {"LUTHIER_STORE": url, "LUTHIER_DATA": str(data), "LUTHIER_BASE": str(base)}
        environment |= {"LUTHIER_PRECISION": "float32", "LUTHIER_THREADS": "1", "LUTHIER_API_KEYS": "one,two"}
        with log.open("ab") as out:
            command = [sys.executable, "-m", "luthier", "serve", "--port", "0", *flags]
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def client(self, **options: Any) -> OpenAI:
        """Once the server listens."""
        until(lambda: "listening on" in self._log.read_text() or self.process.poll() is not None)
        address = re.search(r"listening on (\S+)", self._log.read_text())
        assert address, self._log.read_text()
        return OpenAI(**{"base_url": address[1], "api_key": "one", "max_retries": 0, "timeout": 60, **options})

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def servers(
    postgres: PostgresServer, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """The first has no worker."""
    folder = tmp_path_factory.mktemp("cluster")
    url, flags = postgres.new_database(), ["--requests-per-minute", "4"]
    started = tuple(
        Server(url, folder / "data", tiny_base, folder / f"{name}.log", *flags, *worker)
        for name, worker in (("a", ["--no-worker"]), ("b", []))
    )
    try:
        yield started[0], started[1]
    finally:
        for server in started:
            server.stop()


@pytest.fixture(scope="module")
def clients(servers: tuple[Server, Server]) -> tuple[OpenAI, OpenAI]:
    return servers[0].client(), servers[1].client()


def test_a_job_is_made_on_one_and_followed_on_the_other(clients: tuple[OpenAI, OpenAI]) -> None:
    first, second = clients
    job = create(first, upload(second))
    model = finished(second, job.id)
    assert losses(first, job.id) == losses(second, job.id) != []
    assert first.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == model.fine_tuned_model
    assert model.fine_tuned_model in {entry.id for entry in first.models.list()}


def test_a_job_is_cancelled_on_the_other(clients: tuple[OpenAI, OpenAI]) -> None:
    first, second = clients
    job = create(second, upload(first), hyperparameters={"n_epochs": 50, "batch_size": 1})
    until(lambda: first.fine_tuning.jobs.retrieve(job.id).status == "running")
    assert first.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert second.fine_tuning.jobs.retrieve(job.id).status == "cancelled"


def test_parts_of_an_upload_go_to_both(clients: tuple[OpenAI, OpenAI]) -> None:
    first, second = clients
    half = b'{"messages": []}\n'
    upload_id = first.uploads.create(
        bytes=2 * len(half), filename="x.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    ).id
    parts = [client.uploads.parts.create(upload_id, data=half).id for client in (first, second)]
    file = second.uploads.complete(upload_id, part_ids=parts).file
    assert file
    assert first.files.content(file.id).read() == half * 2


def test_a_retry_on_the_other_server_is_no_second_request(clients: tuple[OpenAI, OpenAI]) -> None:
    headers = {"Idempotency-Key": "key-1"}
    file = upload(clients[0])
    result = [
        client.fine_tuning.jobs.create(model="gpt-3.5-turbo", training_file=file, extra_headers=headers).id
        for client in clients
    ]
    assert result[0] == result[1]
    clients[0].fine_tuning.jobs.cancel(result[0])


def test_limits_are_counted_over_both(servers: tuple[Server, Server]) -> None:
    clients = [server.client(api_key="two") for server in servers]

    def ask(number: int) -> int:
        try:
            clients[number % 2].embeddings.create(model="no-such-model", input="x")
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    assert [ask(number) for number in range(5)] == [404, 404, 404, 404, 429]


def test_servers_wait_for_a_database_that_restarts(postgres: PostgresServer, clients: tuple[OpenAI, OpenAI]) -> None:
    file = upload(clients[0])
    postgres.stop()
    with pytest.raises(openai.InternalServerError) as error_info:
        clients[1].files.retrieve(file)
    assert (error_info.value.status_code, error_info.value.code) == (503, "database_unavailable")
    postgres.start()
    assert clients[1].files.retrieve(file).id == clients[0].files.retrieve(file).id == file


def test_what_one_began_goes_on_when_it_is_killed(
    servers: tuple[Server, Server], clients: tuple[OpenAI, OpenAI]
) -> None:
    """The last test: it ends the first server."""
    job = create(clients[0], upload(clients[0]))
    servers[0].process.kill()
    assert finished(clients[1], job.id)
