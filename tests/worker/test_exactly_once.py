"""Promises are kept exactly once, wherever the process ends: each is ended before each of its writes, and repeated."""

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from crash_points import at_every_write, run
from luthier.catalogue import Catalogue
from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Event, Store
from luthier.store.request_ids import resource_id, seeded
from luthier.training.protocol import Checkpoint
from luthier.types.errors import NotFoundError
from luthier.types.stored import StoredCompletion
from luthier.worker.context import WorkerContext
from luthier.worker.handlers.run_batch import BatchHandler
from luthier.worker.model_publisher import ModelPublisher
from store.test_store import JOB, put

pytestmark = pytest.mark.services
_HOOK = {"name": "hook", "url": "http://localhost:9/", "event_types": ["fine_tuning.job.succeeded", "batch.completed"]}
_DAY_S = 24 * 3600


@contextmanager
def _opened(data: Path) -> Iterator[Store]:
    """A store opened anew, as after a restart."""
    store = Store(data)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Is closed before work is ended, and opens again where it is used."""
    store = Store(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def data(store: Store) -> Path:
    return store.models_folder.parent


def _announced(store: Store) -> Counter[str]:
    endpoint = store.webhooks.list(limit=1, after=None).data[0]
    messages = store.outbox.list(endpoint.id, limit=99, after=None).data
    return Counter(message.body["type"] for message in messages)


# -- requests with an idempotency key ------------------------------------------------------------------------------


class _Client:
    """Sends one request with an idempotency key to an application in this process, and keeps what it is answered."""

    def __init__(self, store: Store, data: Path, path: str, body: dict[str, Any]) -> None:
        self._app = create_app(Settings(data=data, webhook_hosts="localhost"), store, Catalogue(data / "cache"))
        self._answers, self._request = data.with_name("answers"), (path, body)
        asyncio.run(self._send("GET", "/v1/webhook_endpoints"))  # what the first request takes longer for

    def post(self) -> None:
        path, body = self._request
        response = asyncio.run(self._send("POST", path, json=body, headers={"idempotency-key": "key-1"}))
        with self._answers.open("a") as out:
            out.write(json.dumps([response.status_code, response.json()]) + "\n")

    def answers(self) -> list[dict[str, Any]]:
        """Of the requests since the last call, each with status 200."""
        answers = [json.loads(line) for line in self._answers.read_text().splitlines()]
        self._answers.unlink()
        assert {status for status, _ in answers} == {200}
        return [answer for _, answer in answers]

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)


with seeded("conversation"):
    _CONVERSATION = resource_id("conv_", 48)


def _conversation(store: Store) -> str:
    with seeded("conversation"):
        return store.conversations.create({}, [], max_rows=9).id


_CREATIONS: dict[str, tuple[str, Callable[[Store], dict[str, Any]], Callable[[Store], int]]] = {
    "job": (
        "/v1/fine_tuning/jobs",
        lambda store: {"model": "gpt-4o-mini", "training_file": put(store, b"{}\n").id},
        lambda store: len(store.jobs.list(limit=9, after=None).data),
    ),
    "batch": (
        "/v1/batches",
        lambda store: {
            "input_file_id": store.files.create("a.jsonl", "batch", lambda out: out.write(b"{}\n") and None).id,
            "endpoint": "/v1/embeddings",
            "completion_window": "24h",
        },
        lambda store: len(store.batches.list(limit=9, after=None).data),
    ),
    "webhook endpoint": (
        "/v1/webhook_endpoints",
        lambda store: _HOOK,
        lambda store: len(store.webhooks.list(limit=9, after=None).data),
    ),
    "items of a conversation": (
        f"/v1/conversations/{_CONVERSATION}/items",
        lambda store: _conversation(store) and {"items": [{"role": "user", "content": text} for text in "ab"]},
        lambda store: len(store.conversations.context(_CONVERSATION)) - 1,
    ),
}


@pytest.mark.parametrize("kind", _CREATIONS)
def test_a_request_with_an_idempotency_key_creates_once(store: Store, data: Path, kind: str) -> None:
    path, body_of, count = _CREATIONS[kind]
    client = _Client(store, data, path, body_of(store))
    store.close()
    for _ in at_every_write(data, client.post):
        run(data, client.post)
        first, *others = client.answers()
        assert all(answer == first for answer in others)
        with _opened(data) as restarted:
            assert count(restarted) == 1


def test_two_files_of_one_request_are_two(store: Store, data: Path) -> None:
    turns = [[{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "a" * n}] for n in range(1, 21)]
    file = put(store, "".join(json.dumps({"messages": pair}) + "\n" for pair in turns).encode())
    client = _Client(store, data, f"/v1/luthier/files/{file.id}/split", {"validation": 0.5})
    client.post()
    [answer] = client.answers()
    parts = [store.files.path(answer[part]["id"]) for part in ("training_file", "validation_file")]
    assert sum(len(path.read_bytes().splitlines()) for path in parts) == len(turns)
    assert len(store.files.list(purpose=None, limit=9, ascending=True, after=None).data) == 3


def test_a_secret_is_rotated_once(store: Store, data: Path) -> None:
    """The secret before stays valid, and not one of a try that nobody heard of."""
    before = store.webhooks.create(**_HOOK)
    path = f"/v1/webhook_endpoints/{before.endpoint.id}/rotate_secret"
    client = _Client(store, data, path, {"keep_old_secret_active_for_24_hours": True})
    store.close()
    for _ in at_every_write(data, client.post):
        run(data, client.post)
        current = client.answers()[-1]["signing_secret"]
        with _opened(data) as restarted:
            assert restarted.webhooks.retrieve(before.endpoint.id).secrets == [current, before.secrets[0]]


def test_an_upload_becomes_one_file(store: Store, data: Path) -> None:
    upload_id = store.uploads.create("f", "assistants", 2, file_expires_after_s=None).id
    part_ids = [
        store.uploads.add_part(upload_id, lambda out, text=text: out.write(text) and None, max_bytes=9).id
        for text in (b"a", b"b")
    ]
    store.close()
    complete = partial(store.uploads.complete, upload_id, part_ids, None)
    for _ in at_every_write(data, complete):
        run(data, complete)
        with _opened(data) as restarted:
            upload = restarted.uploads.retrieve(upload_id)
            files = restarted.files.list(purpose=None, limit=9, ascending=True, after=None).data
            assert (upload.status, [file.id for file in files]) == ("completed", [upload.file and upload.file.id])
            assert restarted.files.path(files[0].id).read_bytes() == b"ab"
        _sweep(data)
        assert [path.name for path in (data / "files").iterdir()] == [files[0].id]
        assert not any((data / "uploads").iterdir())


# -- the end of a job ----------------------------------------------------------------------------------------------


def _publish(store: Store, job_id: str) -> None:
    """The end of a training run, by whichever worker has the job."""
    job = store.jobs.get(job_id)
    if job.status == "running":
        context: Any = SimpleNamespace(store=store, settings=Settings(), catalogue=None, engines=None)
        checkpoint = Checkpoint(step=3, folder="step-3", metrics={"train_loss": 1.0})
        ModelPublisher(job, context).publish_final(checkpoint, 300, 1)


def test_a_job_has_one_model_one_result_file_and_one_end(
    store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelPublisher, "_check_parity", lambda *_: None)  # needs an engine
    store.webhooks.create(**_HOOK)
    job = store.jobs.create(**JOB)
    store.jobs.transition(job.id, ("validating_files",), "running", Event("started"))
    adapter = store.job_folder(job.id) / "checkpoints" / "step-3"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    AdapterMetadata(call_form="functions").write(adapter)
    store.close()
    for _ in at_every_write(data, partial(_publish, store, job.id)):
        run(data, partial(_publish, store, job.id))
        with _opened(data) as restarted:
            ended, models = restarted.jobs.retrieve(job.id), restarted.models.list()
            assert ended.status == "succeeded"
            assert [(model.id, model.call_form) for model in models] == [(ended.fine_tuned_model, "functions")]
            assert (models[0].adapter / "adapter_model.safetensors").read_bytes() == b"weights"
            restarted.checksums.verify(models[0].adapter, "the model")
            files = restarted.files.list(purpose="fine-tune-results", limit=9, ascending=False, after=None).data
            assert [file.id for file in files] == ended.result_files
            assert restarted.files.path(files[0].id).read_bytes()
            messages = Counter(entry.message for entry in restarted.jobs.events(job.id, limit=99, after=None).data)
            assert set(messages.values()) == {1}
            assert _announced(restarted) == {"fine_tuning.job.succeeded": 1}
            assert len(restarted.jobs.checkpoints(job.id, limit=9, after=None).data) == 1
        assert [path.name for path in (data / "files").glob("[!.]*")] == [files[0].id]


# -- deletion ------------------------------------------------------------------------------------------------------


def _sweep(data: Path) -> None:
    """What is swept once it is a day old is swept now."""
    for path in data.rglob("*"):
        if not path.name.startswith("luthier.db"):
            os.utime(path, (time.time() - 2 * _DAY_S,) * 2)
    with _opened(data) as restarted:
        restarted.delete_expired()


def test_a_deleted_file_is_there_whole_or_gone(store: Store, data: Path) -> None:
    untouched, deleted = put(store, b"kept"), put(store, b"deleted")
    store.files.save_report(deleted.id, {"findings": []})
    store.close()
    for _ in at_every_write(data, partial(store.files.delete, deleted.id)):
        _sweep(data)
        with _opened(data) as restarted:
            try:
                assert restarted.files.path(deleted.id).read_bytes() == b"deleted"
                assert restarted.files.report(deleted.id) == {"findings": []}
            except NotFoundError:
                assert [path.name for path in (data / "files").iterdir()] == [untouched.id]
            assert restarted.files.path(untouched.id).read_bytes() == b"kept"


def test_a_deleted_model_is_there_whole_or_gone(store: Store, data: Path, tmp_path: Path) -> None:
    job, source = store.jobs.create(**JOB), tmp_path / "adapter"
    (source / "inner").mkdir(parents=True)
    for file in ("a", "b", "inner/c"):
        (source / file).write_bytes(b"weights")
    values = {"metrics": {}, "source": source, "call_form": None, "event": None, "keep": 3}
    name = store.models.add_checkpoint(store.jobs.get(job.id), name="ft:a:b::1", step=3, **values)
    store.jobs.transition(job.id, ("validating_files",), "cancelled", Event("over"))
    store.close()
    for _ in at_every_write(data, partial(store.models.delete, name)):
        _sweep(data)
        with _opened(data) as restarted:
            model = restarted.models.find(str(name))
            points = restarted.jobs.checkpoints(job.id, limit=9, after=None).data
            assert [point.fine_tuned_model_checkpoint for point in points] == ([name] if model else [])
            if model:
                restarted.checksums.verify(model.adapter, "the model")
            else:
                assert not any((data / "models").iterdir())


# -- batches -------------------------------------------------------------------------------------------------------


class _Application:
    """Answers each line, and stores the answer as a route does; the line `bad` is refused."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self.loop = store, loop

    async def post(self, project: str, path: str, body: dict[str, Any], gate: Any = None) -> httpx.Response:
        async with gate:
            if body["input"] == "bad":
                return httpx.Response(400, json={"error": {"message": "bad"}})
            fields = {"model": body["model"], "created": 1, "choices": [], "usage": None, "system_fingerprint": None}
            completion_id = resource_id("chatcmpl-")
            completion = StoredCompletion.model_construct(id=completion_id, metadata={}, **fields)
            await asyncio.to_thread(self._store.stored_completions.create, completion, [], days=1, max_rows=99)
            return httpx.Response(200, json={"id": completion_id, "usage": {"prompt_tokens": 1}})


def request_context(store: Store, application: Callable[[asyncio.AbstractEventLoop], Any]) -> Any:
    """The context of a worker that starts, whose requests go to `application`."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    unused: Any = None
    store.release_dead_workers()
    return WorkerContext(Settings(batch_concurrency=1), store, unused, unused, application(loop))


def _run_batch(store: Store) -> None:
    """What a worker that starts does with a batch."""
    context = request_context(store, partial(_Application, store))
    claim = BatchHandler(context).claim(f"{store.workers.register()}/batches", [])
    if claim:
        claim.run()


@pytest.mark.parametrize("status", ["in_progress", "finalizing"])
def test_a_batch_that_another_machine_began_is_answered_again(
    status: Any, store: Store, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a shared folder, its input and its results so far are on that machine."""
    monkeypatch.setattr("luthier.worker.handlers.run_batch._PROGRESS_S", 0.01)
    ids = []
    for keeps_input in (True, False):
        line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "good"}}
        content = json.dumps(line).encode() + b"\n"
        file = store.files.create("a.jsonl", "batch", lambda out, content=content: out.write(content) and None)
        batch = store.batches.create(endpoint="/v1/embeddings", input_file_id=file.id, completion_window="24h")
        counts = {"total": 1, "completed": 0, "failed": 0}
        for to in ("in_progress", status):
            store.batches.transition(batch.id, ("validating", "in_progress"), to, request_counts=counts)
        if not keeps_input:
            store.files.delete(file.id)
        ids.append(batch.id)
        _run_batch(store)
    ended, failed = (store.batches.retrieve(batch_id) for batch_id in ids)
    assert (ended.status, ended.request_counts.completed) == ("completed", 1)
    assert store.files.path(str(ended.output_file_id)).read_text().count("\n") == 1
    assert (failed.status, failed.errors.data[0].code) == ("failed", "invalid_input_file")
    store.close()


def test_a_batch_answers_each_line_once(store: Store, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.worker.handlers.run_batch._PROGRESS_S", 0.01)
    monkeypatch.setattr("luthier.worker.lease._BEAT_S", 60)  # no write at a moment of its own
    lines = [
        {"custom_id": text, "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": text}}
        for text in ("good", "bad")
    ]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    store.webhooks.create(**_HOOK)
    file = store.files.create("a.jsonl", "batch", lambda out: out.write(content) and None)
    batch = store.batches.create(endpoint="/v1/embeddings", input_file_id=file.id, completion_window="24h")
    store.close()
    for _ in at_every_write(data, partial(_run_batch, store)):
        run(data, partial(_run_batch, store))
        with _opened(data) as restarted:
            ended = restarted.batches.retrieve(batch.id)
            assert (ended.status, ended.request_counts.completed, ended.request_counts.failed) == ("completed", 1, 1)
            outputs = [ended.output_file_id, ended.error_file_id]
            rows = [restarted.files.path(str(output)).read_text().splitlines() for output in outputs]
            assert [[json.loads(row)["custom_id"] for row in part] for part in rows] == [["good"], ["bad"]]
            assert restarted.stored_completions.count() == 1
            result_files = restarted.files.list(purpose="batch_output", limit=9, ascending=True, after=None).data
            assert [entry.id for entry in result_files] == outputs
            assert _announced(restarted) == {"batch.completed": 1}
        if any((data / "batches").iterdir()):
            _sweep(data)
        assert not any((data / "batches").iterdir())
