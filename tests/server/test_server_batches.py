"""`/v1/batches` through the official client, on an engine that says what it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, until
from sqlalchemy import update

from luthier.store import Store
from luthier.store.batch_results import BatchResults
from luthier.store.batches import batches
from luthier.types.common import now

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for the runner often."""
    monkeypatch.setattr("luthier.worker.lane._POLL_S", 0.05)
    monkeypatch.setattr("luthier.worker.handlers.run_batch._PROGRESS_S", 0.05)


@pytest.fixture
def place(engine: ScriptedEngine, tiny_base: Path, tmp_path: Path) -> Iterator[Bare]:
    engine.say("yes")
    with bare_server(tmp_path / "data", tiny_base, engine) as running:
        yield running
    engine.say("")


def request(custom_id: str, **parameters: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": custom_id}], **parameters}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def put(client: OpenAI, lines: list[Any] | bytes) -> str:
    content = lines if isinstance(lines, bytes) else "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=("in.jsonl", content), purpose="batch").id


def start(client: OpenAI, lines: list[Any] | bytes, endpoint: Any = CHAT, **parameters: Any) -> str:
    return client.batches.create(
        input_file_id=put(client, lines), endpoint=endpoint, completion_window="24h", **parameters
    ).id


def over(client: OpenAI, batch: str) -> Any:
    def ended() -> bool:
        return client.batches.retrieve(batch).status in ("completed", "failed", "expired", "cancelled")

    until(ended)
    return client.batches.retrieve(batch)


def results(client: OpenAI, file: str | None) -> list[Any]:
    assert file is not None
    return [json.loads(line) for line in client.files.content(file).text.splitlines()]


def test_a_batch_from_file_to_files(place: Bare, engine: ScriptedEngine) -> None:
    """One line is refused as it would be over HTTP; the rest is answered, in the order of the input."""
    client = place.client()
    bad = request("bad", temperature=9)
    lines = [request(f"r{at}") for at in range(6)]
    result = client.batches.create(
        input_file_id=put(client, [*lines[:2], bad, *lines[2:]]),
        endpoint=CHAT,
        completion_window="24h",
        metadata={"team": "a"},
        extra_body={"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
    )
    assert (result.object, result.status, result.endpoint) == ("batch", "validating", CHAT)
    assert (result.errors, result.output_file_id, result.expires_at) == (None, None, result.created_at + 86400)
    done = over(client, result.id)
    assert done.status == "completed"
    assert (done.model, done.metadata) == ("gpt-4o-mini", {"team": "a"})
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (7, 6, 1)
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at
    answers = results(client, done.output_file_id)
    assert [answer["custom_id"] for answer in answers] == [f"r{at}" for at in range(6)]
    entry = answers[0]
    assert set(entry) == {"id", "custom_id", "response", "error"}
    assert entry["id"].startswith("batch_req_")
    assert (entry["error"], entry["response"]["status_code"]) == (None, 200)
    assert entry["response"]["request_id"].startswith("req_")
    assert entry["response"]["body"]["choices"][0]["message"]["content"] == "yes"
    (refused,) = results(client, done.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"], refused["error"]) == ("bad", 400, None)
    assert refused["response"]["body"]["error"]["param"] == "temperature"
    used = [answer["response"]["body"]["usage"] for answer in answers]
    assert done.usage.input_tokens == sum(usage["prompt_tokens"] for usage in used)
    assert (done.usage.output_tokens, done.usage.total_tokens) == (18, done.usage.input_tokens + 18)
    output = client.files.retrieve(done.output_file_id)
    assert (output.purpose, output.filename) == ("batch_output", f"{result.id}_output.jsonl")
    assert output.expires_at == output.created_at + 3600
    assert not any((place.store.batches._folder).iterdir())


def test_an_answer_with_line_separators_is_one_line(place: Bare, engine: ScriptedEngine) -> None:
    """`results` splits as most people do, with `str.splitlines`."""
    client, said = place.client(), "one\u2028two\x85three\u2029four"
    engine.say(said)
    (answer,) = results(client, over(client, start(client, [request("a")])).output_file_id)
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == said
    with client.with_streaming_response.chat.completions.create(**request("a")["body"], stream=True) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    deltas = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(deltas) == said


def test_completions_and_embeddings(place: Bare, engine: ScriptedEngine, client: OpenAI) -> None:
    lines = [
        {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "babbage-002", "prompt": "x"}}
    ]
    done = over(place.client(), start(place.client(), lines, "/v1/completions"))
    assert results(place.client(), done.output_file_id)[0]["response"]["body"]["choices"][0]["text"] == "yes"
    assert done.error_file_id is None
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    lines = [{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}]
    done = over(client, start(client, lines, "/v1/embeddings"))  # the tiny base itself
    assert len(results(client, done.output_file_id)[0]["response"]["body"]["data"]) == 2
    assert (done.usage.input_tokens, done.usage.output_tokens) == (2, 0)


@pytest.mark.parametrize(
    ("lines", "errors"),
    [
        (b"\n\n", [("empty_file", None, None)]),
        (b'{"custom_id": \n[]\n', [("invalid_json_line", None, 1), ("invalid_json_line", None, 2)]),
        ([request("a"), request("b"), request("a")], [("duplicate_custom_id", "custom_id", 3)]),
        ([{**request("a"), "method": "GET"}], [("invalid_method", "method", 1)]),
        ([{**request("a"), "url": "/v1/embeddings"}], [("invalid_url", "url", 1)]),
        ([request("a"), request("b", model="gpt-4o")], [("mismatched_model", "body.model", 2)]),
        ([request("a", model=None)], [("missing_required_parameter", "body.model", 1)]),
        ([{"custom_id": "a"}, {"method": "POST"}], [("missing_required_parameter", "method", 1),
                                                    ("missing_required_parameter", "custom_id", 2)]),
        ([{**request("a"), "body": []}], [("invalid_type", "body", 1)]),
    ],
)  # fmt: skip
def test_files_that_are_wrong(place: Bare, engine: ScriptedEngine, lines: Any, errors: list[Any]) -> None:
    """Every line that is wrong is named, and nothing is run."""
    engine.say("never")
    failed = over(place.client(), start(place.client(), lines))
    assert (failed.status, failed.output_file_id) == ("failed", None)
    assert failed.failed_at
    assert [(error.code, error.param, error.line) for error in failed.errors.data] == errors
    assert all(error.message for error in failed.errors.data)
    assert engine.prompts == []


def test_limits(place: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.worker.batch_input.MAX_REQUESTS", 3)
    monkeypatch.setattr("luthier.worker.batch_input._MOST_ERRORS", 2)
    client = place.client()
    failed = over(client, start(client, [request(f"{at}") for at in range(9)]))
    assert [(error.code, error.line) for error in failed.errors.data] == [("too_many_tasks", 4)]
    failed = over(client, start(client, b"x\n" * 9))
    assert len(failed.errors.data) == 2


def test_creation_refuses(place: Bare) -> None:
    client = place.client()
    other = client.files.create(file=("x.jsonl", b"{}"), purpose="user_data").id
    deleted = put(client, [request("a")])
    client.files.delete(deleted)
    for parameters, param in (
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"input_file_id": deleted}, "input_file_id"),
        ({"input_file_id": other}, "input_file_id"),
        ({"endpoint": "/v1/videos"}, "endpoint"),
        ({"endpoint": "/v1/files"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"extra_body": {"colour": 1}}, "colour"),
    ):
        parameters = {"input_file_id": other, "endpoint": CHAT, "completion_window": "24h", **parameters}
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.create(**parameters)
        assert body_of(caught.value)["param"] == param


def test_list_retrieve_and_cancel_what_is_over(place: Bare) -> None:
    client = place.client()
    result = [start(client, [request("a")]) for _ in range(3)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == result[:0:-1]
    assert page.has_more
    assert [batch.id for batch in page] == result[::-1]
    over(client, result[0])
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.cancel(result[0])
    assert body_of(caught.value)["message"] == "Cannot cancel a batch with status 'completed'."
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError) as missing:
            call("batch_none")
        assert body_of(missing.value)["message"] == "No batch found with id 'batch_none'."


def journaled(place: Bare, batch: str, lines: int) -> None:
    """Wait until so many lines are on disk."""
    journal = place.store.batches._folder / batch / "journal.jsonl"
    until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= lines)


def test_cancelling_keeps_what_is_done(place: Bare, engine: ScriptedEngine) -> None:
    engine.say("abcdefghij", pause_s=0.03)  # seconds more than the cancellation takes
    client = place.client()
    batch = start(client, [request(f"r{at}") for at in range(200)])
    journaled(place, batch, 2)
    assert client.batches.cancel(batch).status == "cancelling"
    assert client.batches.cancel(batch).status in ("cancelling", "cancelled")
    done = over(client, batch)
    assert done.status == "cancelled"
    assert done.cancelling_at <= done.cancelled_at
    answered, never = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(answered) == done.request_counts.completed >= 2
    assert len(answered) + len(never) == 200
    assert {line["error"]["code"] for line in never} == {"batch_cancelled"}
    assert engine.under_way == 0


def test_a_batch_whose_time_is_over(place: Bare, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered in time is kept; what was not says so, and its answer under way is ended."""
    engine.say("a", endless=True, pause_s=0.01)
    client = place.client()
    lines = [request("short", max_tokens=1), request("long", max_tokens=4000), request("late", max_tokens=4000)]
    batch = start(client, lines)
    journaled(place, batch, 1)
    for module in ("worker.handlers.run_batch", "store.batches"):
        monkeypatch.setattr(f"luthier.{module}.now", lambda: now() + 2 * 24 * 3600)
    done = over(client, batch)
    assert done.status == "expired"
    assert done.expired_at >= done.expires_at
    assert [line["custom_id"] for line in results(client, done.output_file_id)] == ["short"]
    never = results(client, done.error_file_id)
    assert [(line["custom_id"], line["error"]["code"]) for line in never] == [
        ("long", "batch_expired"),
        ("late", "batch_expired"),
    ]
    assert engine.under_way == 0


_MANY = 150


def test_a_batch_goes_on_where_it_was_when_the_server_starts_again(
    engine: ScriptedEngine, tiny_base: Path, tmp_path: Path
) -> None:
    """Lines that were answered are not asked again, and half a line of the journal is no answer."""
    engine.say("slow", pause_s=0.1)  # the lines are so many that they are not over when the server has stopped
    with bare_server(tmp_path / "data", tiny_base, engine) as place:
        batch = start(place.client(), [request(f"r{at}") for at in range(_MANY)])
        journaled(place, batch, 3)
    journal = tmp_path / "data" / "batches" / batch / "journal.jsonl"
    answered = journal.read_bytes().splitlines()
    with journal.open("ab") as torn:
        torn.write(b'{"line": 400, "go')
    engine.say("fast")
    with bare_server(tmp_path / "data", tiny_base, engine) as place:
        done = over(place.client(), batch)
        assert done.status == "completed"
        assert done.request_counts.completed == _MANY
        assert len(engine.prompts) == _MANY - len(answered)
        bodies = [line["response"]["body"] for line in results(place.client(), done.output_file_id)]
    texts = [body["choices"][0]["message"]["content"] for body in bodies]
    assert sorted(texts) == sorted(["slow"] * len(answered) + ["fast"] * len(engine.prompts))
    assert engine.under_way == 0


def test_a_full_queue_is_waited_for(engine: ScriptedEngine, place: Bare) -> None:
    engine.queue_limit = 0
    client = place.client()
    batch = start(client, [request("a")])
    journal = place.store.batches._folder / batch / "journal.jsonl"
    until(journal.exists)
    assert journal.read_bytes() == b""
    engine.queue_limit = 64
    assert over(client, batch).request_counts.completed == 1


def test_ends_of_batches_keep_nobody_waiting(place: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may wait for the database's lock is not done where requests are answered."""
    there = []

    def watched(done: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*parameters: Any, **named: Any) -> Any:
            there.append(threading.current_thread().name)
            return done(*parameters, **named)

        return watching

    store = place.store.batches
    for part, name in ((store.queue, "release"), (store, "transition")):
        monkeypatch.setattr(part, name, watched(getattr(part, name)))

    def fault(*_: Any) -> None:
        raise OSError("the disk is full")

    client = place.client()
    over(client, start(client, [request("a")]))
    monkeypatch.setattr("luthier.worker.handlers.run_batch.check_input", fault)
    monkeypatch.setattr("luthier.worker.handlers.run_batch.now", lambda: now() + 2 * 24 * 3600)
    assert over(client, start(client, [request("a")])).errors.data[0].message == "OSError: the disk is full"
    until(lambda: len(there) >= 6)
    assert all(name.startswith("luthier-batches-") for name in there), there


def test_a_batch_of_responses(place: Bare) -> None:
    """Each is stored once, as over HTTP."""
    client = place.client()
    body: Any = {"model": "gpt-4o-mini", "input": "hello"}
    url = "/v1/responses"
    lines = [{"custom_id": name, "method": "POST", "url": url, "body": body} for name in ("a", "b")]
    lines.append({**lines[0], "custom_id": "c", "body": {**body, "background": True}})
    done = over(client, start(client, lines, url))
    assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)
    answers = [line["response"]["body"] for line in results(client, done.output_file_id)]
    assert [client.responses.retrieve(answer["id"]).output_text for answer in answers] == ["yes", "yes"]
    assert done.usage.output_tokens == sum(answer["usage"]["output_tokens"] for answer in answers) == 6
    (line,) = results(client, done.error_file_id)
    assert line["response"]["body"]["error"]["param"] == "background"


def test_lines_that_cannot_be_streams(place: Bare, engine: ScriptedEngine) -> None:
    done = over(place.client(), start(place.client(), [request("a", stream=True)]))
    (line,) = results(place.client(), done.error_file_id)
    assert line["response"]["body"]["error"]["param"] == "stream"
    assert done.output_file_id is None


def test_a_batch_belongs_to_a_project(engine: ScriptedEngine, tiny_base: Path, tmp_path: Path) -> None:
    """It is found, and its files are, by its own project only; its lines need no key."""
    keys = "proj_a=sk-key-of-project-a,proj_b=sk-key-of-project-b,sk-key-of-all"
    engine.say("yes")
    with bare_server(tmp_path / "data", tiny_base, engine, api_keys=keys) as place:
        mine, other = (place.client(api_key=f"sk-key-of-project-{name}") for name in "ab")
        done = over(mine, start(mine, [request("a")]))
        assert done.request_counts.completed == 1
        assert mine.files.retrieve(done.output_file_id)
        for call in (lambda: other.batches.retrieve(done.id), lambda: other.files.retrieve(done.output_file_id)):
            with pytest.raises(openai.NotFoundError):
                call()
        assert other.batches.list().data == []
        everybody = place.client(api_key="sk-key-of-all")
        with pytest.raises(openai.BadRequestError, match="invalid input_file_id"):  # it would run in another project
            everybody.batches.create(input_file_id=put(mine, [request("a")]), endpoint=CHAT, completion_window="24h")
        assert over(everybody, start(everybody, [request("a")])).request_counts.completed == 1


def test_two_workers_never_hold_the_same_batch(tmp_path: Path) -> None:
    store = Store(tmp_path)
    batch = store.batches.create(endpoint=CHAT, input_file_id="file-1", completion_window="24h")
    queue = store.batches.queue
    claimed = store.batches.claim("one")
    assert claimed
    assert claimed.id == batch.id
    assert store.batches.claim("two") is None
    assert queue.heartbeat(batch.id, "one") == "validating"
    assert queue.heartbeat(batch.id, "two") is None
    with store._database.write() as connection:
        connection.execute(update(batches).values(lease_until=1.0))
    assert store.batches.claim("two")
    assert queue.heartbeat(batch.id, "one") is None
    store.close()


def test_results_are_read_back_after_a_restart(tmp_path: Path) -> None:
    results = BatchResults(tmp_path / "j")
    results.add(2, succeeded=True, usage={"input": 3}, result={"text": "中"})
    results.add(1, succeeded=False, usage={"input": 4}, result={"text": "x"})
    results.close()
    again = BatchResults(tmp_path / "j")
    assert (again.completed, again.failed, again.usage) == (1, 1, {"input": 7})
    assert (1 in again, 2 in again, 3 in again) == (True, True, False)
    assert (again.read(2), again.succeeded(2), again.succeeded(1)) == ({"text": "中"}, True, False)
    again.close()
