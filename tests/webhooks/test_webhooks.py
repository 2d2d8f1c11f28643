"""Webhooks over the API and the wire: signed as OpenAI's client expects, repeated until they arrive, in order."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from luthier.catalogue import Catalogue
from luthier.server import create_app
from luthier.server.hosting import listen, running_lifespan, serving
from luthier.settings import Settings
from luthier.store import Event, Store
from luthier.types.clock import Clock
from luthier.worker import Worker, WorkerContext
from luthier.worker.handlers.deliver_webhook import WebhookHandler
from store.test_store import JOB
from webhooks.receiver import Receiver, receiving

pytestmark = pytest.mark.services
EVENTS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


class Server:
    """A server without engines whose worker delivers webhooks only."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, webhook_hosts="localhost", api_keys="proj_a=sk-a,proj_b=sk-b")
        self.store = Store(data)
        self.catalogue = Catalogue(self.settings.cache)
        self.app = create_app(self.settings, self.store, self.catalogue)
        self.url = ""

    def client(self, key: str = "sk-a") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    def worker(self) -> Worker:
        state = self.app.state
        context = WorkerContext(self.settings, self.store, self.catalogue, state.luthier.engines, state.loopback)
        return Worker(context, [WebhookHandler(context)])

    def end_job(self, status: str = "succeeded") -> str:
        jobs = self.store.within("proj_a").jobs
        job = jobs.create(**JOB)
        jobs.transition(job.id, ("validating_files",), status, Event("over"))
        return job.id


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.store.outbox._FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr("luthier.store.outbox._MAX_PAUSE_S", 0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server, listener = Server(tmp_path_factory.mktemp("webhooks")), listen("127.0.0.1", 0)
    with serving(server.app, listener):
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        worker = server.worker()
        worker.start()
        yield server
        worker.stop()
    server.store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def _has_more_than(receiver: Receiver, count: int) -> bool:
    return len(receiver.deliveries) > count


def test_a_message_survives_sigkill_between_attempts(tmp_path: Path, receiver: Receiver) -> None:
    """Each attempt is made by a process of its own, which is killed right after.

    The first test here: it forks, and the server of the others has threads.
    """
    server = Server(tmp_path)
    endpoint = server.store.within("proj_a").webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
    job = server.end_job()
    server.store.close()
    receiver.answers = [500] * 99
    for _ in range(3):
        deliveries_before, child = len(receiver.deliveries), os.fork()
        if child == 0:
            child_server = Server(tmp_path)
            with running_lifespan(child_server.app):
                child_server.worker().start()
                time.sleep(300)
            os._exit(1)
        _until(partial(_has_more_than, receiver, deliveries_before))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert set(receiver.events(endpoint.secrets[0])) == {("fine_tuning.job.succeeded", job)}
    assert len({headers["webhook-id"] for headers, _ in receiver.deliveries}) == 1


def test_a_receiver_that_is_slow_wrong_redirecting_and_then_right(
    server: Server, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.webhooks.delivery.TIMEOUT_S", 0.5)
    client = server.client()
    endpoint = client.webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
    receiver.answers = [60.0, 500, 302, 404]
    job = server.end_job("failed")
    log = f"/webhook_endpoints/{endpoint.id}/deliveries"
    _until(lambda: client.get(log, cast_to=object)["data"][0]["status"] == "delivered")
    assert receiver.answers == []
    assert set(receiver.events(endpoint.signing_secret)) == {("fine_tuning.job.failed", job)}
    assert len({headers["webhook-id"] for headers, _ in receiver.deliveries}) == 1
    entry = client.get(log, cast_to=object)["data"][0]
    assert (entry["status_code"], entry["error"], entry["next_attempt_at"]) == (204, None, None)
    assert entry["attempts"] >= 5  # on a busy machine any of them may take too long
    assert entry["event"]["data"] == {"id": job}
    client.webhooks.delete(endpoint.id)


def test_a_receiver_that_is_down_and_comes_back(server: Server) -> None:
    client = server.client()
    with receiving(is_down=True) as receiver:
        endpoint = client.webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
        jobs = [server.end_job() for _ in range(3)]
        log = f"/webhook_endpoints/{endpoint.id}/deliveries"
        _until(lambda: all(entry["error"] for entry in client.get(log, cast_to=object)["data"]))
        assert "ConnectError" in client.get(log, cast_to=object)["data"][0]["error"]
        receiver.start()
        _until(lambda: len(receiver.deliveries) == 3)
    delivered = sorted(receiver.events(endpoint.signing_secret))
    assert delivered == sorted(("fine_tuning.job.succeeded", job) for job in jobs)
    client.webhooks.delete(endpoint.id)


def test_nothing_arrives_after_deletion(server: Server, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted while the message waits for its next attempt, whose time then comes."""
    monkeypatch.setattr("luthier.store.outbox._FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr("luthier.store.outbox._MAX_PAUSE_S", 3600.0)
    client = server.client()
    endpoint = client.webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
    receiver.answers = [500]
    server.end_job()
    log = f"/webhook_endpoints/{endpoint.id}/deliveries"
    _until(lambda: client.get(log, cast_to=object)["data"][0]["attempts"] == 1)
    client.webhooks.delete(endpoint.id)
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: time.time() + 3601))
    time.sleep(0.5)  # a worker looks for messages more often
    assert len(receiver.deliveries) == 1


def test_both_secrets_are_valid_after_a_rotation_that_keeps_the_old_one(server: Server, receiver: Receiver) -> None:
    client = server.client()
    old = client.webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
    new = client.webhooks.rotate_secret(old.id, keep_old_secret_active_for_24_hours=True)
    result = client.webhooks.test(old.id, event_type="fine_tuning.job.failed")
    assert (result.status_code, result.success, result.event_type) == (204, True, "fine_tuning.job.failed")
    for secret in (old.signing_secret, new.signing_secret):
        assert receiver.events(secret) == [("fine_tuning.job.failed", "fine_tuning_job_test")]
    last = client.webhooks.rotate_secret(old.id)
    client.webhooks.test(old.id, event_type="batch.expired")
    headers, body = receiver.deliveries[-1]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body, headers, secret=new.signing_secret)
    client.webhooks.verify_signature(body, headers, secret=last.signing_secret)
    client.webhooks.delete(old.id)


def test_endpoints_are_managed_as_at_openai_and_belong_to_a_project(server: Server, receiver: Receiver) -> None:
    client = server.client()
    created = client.webhooks.create(name="hook", url=receiver.url, event_types=EVENTS)
    assert created.signing_secret_hint
    assert created.signing_secret.endswith(created.signing_secret_hint[-4:])
    retrieved = client.webhooks.retrieve(created.id)
    assert "signing_secret" not in retrieved.model_fields_set | set(retrieved.model_extra or {})
    assert client.webhooks.update(created.id, name="other").name == "other"
    assert [endpoint.id for endpoint in client.webhooks.list()] == [created.id]
    assert set(EVENTS) < set(client.webhooks.event_types.list().data)
    stranger = server.client("sk-b")
    assert list(stranger.webhooks.list()) == []
    for call in (stranger.webhooks.retrieve, stranger.webhooks.delete, stranger.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            call(created.id)
    client.webhooks.delete(created.id)
    assert list(client.webhooks.list()) == []


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("url", "http://169.254.169.254/", "host_not_allowed"),
        ("url", "http://127.0.0.1/", "host_not_allowed"),
        ("url", "gopher://localhost/", "invalid_url"),
        ("event_types", [], None),
        ("event_types", ["video.completed"], None),
        ("name", "", None),
    ],
)
def test_what_cannot_be_obeyed_is_refused(server: Server, field: str, value: object, code: str | None) -> None:
    fields = {"name": "hook", "url": "http://localhost:9/", "event_types": EVENTS, field: value}
    with pytest.raises(openai.BadRequestError) as refused:
        server.client().webhooks.create(**fields)
    assert code is None or refused.value.code == code


def test_a_test_that_reaches_nobody_says_so(server: Server) -> None:
    client = server.client()
    endpoint = client.webhooks.create(name="hook", url="http://localhost:9/", event_types=EVENTS)
    with pytest.raises(openai.BadRequestError, match="could not be sent") as refused:
        client.webhooks.test(endpoint.id, event_type="batch.failed")
    assert refused.value.code == "webhook_not_sent"
    client.webhooks.delete(endpoint.id)


def test_a_name_that_moves_into_the_network_is_not_followed(
    server: Server, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was allowed and public when the endpoint was made; the address is checked when it is connected to."""
    monkeypatch.setattr(server.settings, "webhook_hosts", ["hooks.example.com"])
    client, url = server.client(), receiver.url.replace("localhost", "hooks.example.com")
    endpoint = client.webhooks.create(name="hook", url=url, event_types=EVENTS)

    async def to_loopback(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", to_loopback)
    with pytest.raises(openai.BadRequestError, match="not a public address"):
        client.webhooks.test(endpoint.id, event_type="batch.failed")
    assert receiver.deliveries == []
    client.webhooks.delete(endpoint.id)
