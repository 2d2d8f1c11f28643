"""Middleware: rate limits, idempotency keys and allowed origins; and moderation by the upstream service."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import ValidationError
from serving import Bare, ScriptedEngine, bare_server, body_of, serving, until
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from luthier.server.http.auth import INTERNAL_CALLER, authenticate
from luthier.server.http.key_ring import KeyRing
from luthier.server.middleware.idempotency import Idempotency
from luthier.server.middleware.rate_limit import RateLimit
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.idempotency_keys import StoredResponse, idempotency_keys
from luthier.types.errors import RateLimitError

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASKED = {"model": "gpt-4o-mini", "messages": HELLO}
KEYS = "sk-first-0123456789,sk-second-0123456789"


@pytest.fixture(scope="module")
def scripted_engine(tiny_base: Path) -> ScriptedEngine:
    return ScriptedEngine(tiny_base)


@pytest.fixture(scope="module")
def limited_server(
    tiny_base: Path, scripted_engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bare]:
    """A server with API keys, an allowed origin, and rate limits that only their own tests reach."""
    limits: dict[str, Any] = {"requests_per_minute": 200, "tokens_per_minute": 100_000}
    data = tmp_path_factory.mktemp("limited")
    with bare_server(
        data, tiny_base, scripted_engine, api_keys=KEYS, cors_origins="https://App.example/", **limits
    ) as running:
        yield running


def post(limited_server: Bare, key: str = "first", **params: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer sk-{key}-0123456789", **params.pop("headers", {})}
    with limited_server.http() as http:
        return http.post(params.pop("path", "/chat/completions"), headers=headers, json={**ASKED, **params})


def idempotency_key(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


def test_the_same_key_and_body_get_the_same_answer(limited_server: Bare, scripted_engine: ScriptedEngine) -> None:
    scripted_engine.say("one", "two", "three", "four")
    answers = [post(limited_server, headers=idempotency_key("a")) for _ in range(3)]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert len(scripted_engine.prompts) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    assert post(limited_server, headers=idempotency_key("b")).json()["id"] != answers[0].json()["id"]
    assert (
        post(limited_server, "second", headers=idempotency_key("a")).json()["id"] != answers[0].json()["id"]
    )  # another's key


def test_a_key_with_another_body_is_refused(limited_server: Bare, scripted_engine: ScriptedEngine) -> None:
    scripted_engine.say("x")
    post(limited_server, headers=idempotency_key("other"))
    for params in ({"n": 2}, {"path": "/completions"}):
        answer = post(limited_server, headers=idempotency_key("other"), **params)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert post(limited_server, headers=idempotency_key("k" * 256)).status_code == 400


def test_errors_are_not_kept(limited_server: Bare) -> None:
    assert post(limited_server, headers=idempotency_key("corrected"), temperature=9).status_code == 400
    assert post(limited_server, headers=idempotency_key("corrected")).status_code == 200


RESPONSE = {"model": "gpt-4o-mini", "input": "Hello", "stream": True}
STREAMS: dict[str, dict[str, Any]] = {
    "chat/completions": {**ASKED, "stream": True, "store": True},
    "completions": {"model": "gpt-4o-mini", "prompt": "Hello", "stream": True},
    "responses": RESPONSE,
    "responses in the background": {**RESPONSE, "background": True},
}


@contextmanager
def streaming(server: Bare, kind: str, key: str, **params: Any) -> Iterator[httpx.Response]:
    """The response to a request of `STREAMS`, which is read as it arrives; at the end the connection is closed."""
    headers = {"authorization": "Bearer sk-first-0123456789", **idempotency_key(key)}
    path, body = f"/{kind.split()[0]}", STREAMS[kind] | params
    with server.http() as http, http.stream("POST", path, headers=headers, json=body) as answer:
        yield answer


def events_of(lines: Iterator[str], most: int = 10_000) -> list[str]:
    """The data of at most so many events, up to the last one of a complete stream, after which clients stop reading."""
    events: list[str] = []
    for line in lines:
        if line.startswith("data: "):
            events.append(line.removeprefix("data: "))
            if len(events) == most or events[-1] == "[DONE]" or '"response.completed"' in events[-1][:40]:
                break
    return events


def id_of(events: list[str]) -> str:
    first = json.loads(events[0])
    return str(first.get("response", first)["id"])


def stored_ids(server: Bare) -> list[str]:
    client = server.client(api_key="sk-first-0123456789")
    return [completion.id for completion in client.chat.completions.list(limit=100)]


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_with_the_same_key_is_sent_again(
    limited_server: Bare, scripted_engine: ScriptedEngine, kind: str
) -> None:
    scripted_engine.say("one", "two")
    before = len(stored_ids(limited_server))
    with streaming(limited_server, kind, f"stream {kind}") as first:
        events = events_of(first.iter_lines())
    with streaming(limited_server, kind, f"stream {kind}") as second:
        assert events_of(second.iter_lines()) == events
    assert len(scripted_engine.prompts) == 1
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    assert second.headers["content-type"] == first.headers["content-type"]
    assert len(stored_ids(limited_server)) == before + (kind == "chat/completions")
    with streaming(limited_server, kind, f"stream {kind}", temperature=0.5) as other:
        assert other.status_code == 400


@pytest.mark.parametrize("kind", ["chat/completions", "responses"])
def test_a_stream_that_broke_off_is_generated_again_under_its_id(
    limited_server: Bare, scripted_engine: ScriptedEngine, kind: str
) -> None:
    scripted_engine.say("a", endless=True, pause_s=0.01)
    with streaming(limited_server, kind, f"broken {kind}") as broken:
        lines = broken.iter_lines()  # which closes the connection at its end
        first = events_of(lines, most=4)
        with streaming(limited_server, kind, f"broken {kind}") as answer:
            assert answer.status_code == 409
    until(lambda: scripted_engine.under_way == 0)
    scripted_engine.say("whole")
    whole: list[str] = []

    def repeat() -> bool:  # status 409 until the server has noticed the disconnect
        with streaming(limited_server, kind, f"broken {kind}") as answer:
            whole.extend(events_of(answer.iter_lines()))
            return answer.status_code == 200 and "idempotent-replayed" not in answer.headers

    until(repeat)
    assert (id_of(whole), len(scripted_engine.prompts)) == (id_of(first), 1)


def test_a_stream_that_ended_with_an_error_is_generated_again_under_its_id(
    limited_server: Bare, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    scripted_engine.say("one", "two")
    with monkeypatch.context() as patch:
        patch.setattr("luthier.server.routes.chat_completions.router.store_completion", fail)
        with streaming(limited_server, "chat/completions", "failed") as failed:
            events = events_of(failed.iter_lines())
    assert "error" in json.loads(events[-1])
    with streaming(limited_server, "chat/completions", "failed") as answer:
        whole = events_of(answer.iter_lines())
    assert (id_of(whole), whole[-1]) == (id_of(events), "[DONE]")
    assert stored_ids(limited_server).count(id_of(whole)) == 1


def test_a_stream_in_the_background_that_broke_off_is_followed(
    limited_server: Bare, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generation goes on; it is not begun a second time, whether it is still running or has ended."""
    monkeypatch.setattr("luthier.server.middleware.idempotency.MAX_RESPONSE_BYTES", 0)
    kind = "responses in the background"
    scripted_engine.say("good day")
    scripted_engine.may_go_on.clear()
    with streaming(limited_server, kind, "followed") as broken:
        first = events_of(broken.iter_lines(), most=3)

    def followed() -> list[str]:
        with streaming(limited_server, kind, "followed") as answer:
            if answer.status_code == 200:
                scripted_engine.may_go_on.set()
            return events_of(answer.iter_lines())

    streams: list[list[str]] = []
    until(lambda: streams.append(followed()) or streams[-1])  # status 409 until the server has noticed the disconnect
    whole, stored = streams[-1], followed()
    assert whole[:3] == first
    assert [json.loads(event) for event in stored] == [json.loads(event) for event in whole]
    assert len(scripted_engine.prompts) == 1


@pytest.mark.parametrize(
    ("parts", "is_stored"),
    [
        (['data: {"a": 1}\r\n\r\n', "data: [DONE]\r\n", "\r\n"], True),
        (['data: {"a": 1}\n\ndata: [DONE]\n\n'], True),
        (['event: response.incomplete\ndata: {"type": "response.incomplete"}\n\n'], True),
        (['event: response.failed\ndata: {"type": "response.failed"}\n\n'], False),
        (['data: {"content": "data: [DONE]"}\n\n'], False),
        (['data: {"a": 1}\n\n'], False),
    ],
)
def test_streams_that_are_complete_are_stored(tmp_path: Path, parts: list[str], is_stored: bool) -> None:
    store, served = Store(tmp_path), []

    async def answer(request: Request) -> StreamingResponse:
        served.append(request)
        return StreamingResponse(iter(parts), media_type="text/event-stream")

    app = Idempotency(Starlette(routes=[Route("/", answer, methods=["POST"])]), store)

    async def send_twice() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return [(await client.post("/", json={}, headers=idempotency_key("k"))).text for _ in range(2)]

    first, second = asyncio.run(send_twice())
    assert (first, len(served)) == ("".join(parts), 1 if is_stored else 2)
    assert first.split() == second.split()
    assert not is_stored or second.endswith("\n\n")
    store.close()


def test_what_is_too_large_to_store_is_created_once(
    limited_server: Bare, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.server.middleware.idempotency.MAX_RESPONSE_BYTES", 10)
    scripted_engine.say("one", "two")
    before = len(stored_ids(limited_server))
    for stream in (True, False):
        params = {"stream": stream, "store": True, "headers": idempotency_key(f"large {stream}")}
        for _ in range(2):
            assert "idempotent-replayed" not in post(limited_server, **params).headers
    assert (len(scripted_engine.prompts), len(stored_ids(limited_server))) == (4, before + 2)


def test_what_is_under_way_is_not_begun_twice(limited_server: Bare, scripted_engine: ScriptedEngine) -> None:
    """The second request gets a 409, which clients retry, and then the response of the first."""
    scripted_engine.say("a", endless=True, pause_s=0.01)
    first: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: first.append(post(limited_server, headers=idempotency_key("twice"), max_tokens=300))
    )
    caller.start()
    until(lambda: scripted_engine.under_way == 1)
    answer = post(limited_server, headers=idempotency_key("twice"), max_tokens=300)
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
    client = limited_server.client(api_key="sk-first-0123456789", max_retries=20)
    completion = client.chat.completions.create(**ASKED, max_tokens=300, extra_headers=idempotency_key("twice"))
    caller.join()
    assert completion.id == first[0].json()["id"]
    scripted_engine.say("")


def test_a_job_is_created_once(bare_client: OpenAI) -> None:
    file = bare_client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id
    jobs = [
        bare_client.fine_tuning.jobs.create(
            model="gpt-4o-mini", training_file=file, extra_headers=idempotency_key("job-once")
        ).id
        for _ in range(2)
    ]
    assert jobs[0] == jobs[1]


def test_a_database_that_stops_before_the_response_is_stored_is_an_error_to_try_again(
    bare: Bare, bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bare_client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id

    def create() -> str:
        header = idempotency_key("outage")
        return bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file, extra_headers=header).id

    def fail(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(type(bare.store.idempotency_keys), "save", fail)
        with pytest.raises(openai.InternalServerError) as caught:
            create()
    assert caught.value.status_code == 503
    jobs = bare_client.fine_tuning.jobs.list(limit=100).data
    assert create() in [job.id for job in jobs]


@pytest.mark.parametrize("resource", ["job", "batch", "upload"])
def test_a_crash_between_a_row_and_its_stored_response_creates_nothing_twice(
    bare: Bare, bare_client: OpenAI, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    """The response of the first try is lost: its row is committed, the key has no response."""
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
    file = bare_client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id
    lines = bare_client.files.create(file=("x.jsonl", line), purpose="batch").id
    header = {"extra_headers": idempotency_key(f"crash-{resource}")}
    create: Callable[[], str] = {
        "job": lambda: bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file, **header).id,
        "batch": lambda: (
            bare_client.batches.create(
                input_file_id=lines, endpoint="/v1/chat/completions", completion_window="24h", **header
            ).id
        ),
        "upload": lambda: (
            bare_client.uploads.create(
                filename="x.jsonl", purpose="fine-tune", bytes=3, mime_type="text/jsonl", **header
            ).id
        ),
    }[resource]
    committed: list[str] = []

    def crash(_self: object, _key: str, response: StoredResponse) -> None:
        committed.append(json.loads(response.body)["id"])
        raise OSError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr("luthier.store.idempotency_keys.IdempotencyKeys.save", crash)
        with pytest.raises(openai.APIError):
            create()
    assert [create(), create()] == [committed[0]] * 2


def test_a_refused_request_may_be_sent_again_in_another_form(bare_client: OpenAI) -> None:
    file = bare_client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id
    header = {"training_file": file, "extra_headers": idempotency_key("corrected")}
    with pytest.raises(openai.BadRequestError):
        bare_client.fine_tuning.jobs.create(model="no-such-model", **header)
    assert bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", **header).status == "validating_files"


def test_answers_are_kept_for_a_day_and_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr("luthier.store.idempotency_keys.MAX_KEYS", 3)
    for index in range(5):
        store.idempotency_keys.save(f"k{index}", StoredResponse("asked", 200, {}, b"x"))
    assert [store.idempotency_keys.find(f"k{index}") is not None for index in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    with store._database.write() as connection:
        connection.execute(idempotency_keys.update().values(created_at=1))
    assert store.idempotency_keys.find("k4") is None
    store.idempotency_keys.save("large", StoredResponse("asked", 200, {}, b"x" * (1024 * 1024 + 1)))
    assert store.idempotency_keys.find("large") is None
    store.close()


def test_a_key_makes_nobody_hold_a_file_in_memory(tmp_path: Path) -> None:
    """Bodies for upload paths are not buffered, whatever their content type."""
    store, passed = Store(tmp_path), []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(receive)

    async def send_request() -> None:
        for path in ("/v1/files", "/v1/uploads/upload_x/parts"):
            headers = [(b"idempotency-key", b"k"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
            await Idempotency(application, store)(scope, untouched, untouched)

    async def untouched(*_: Any) -> Any:
        raise AssertionError("the body was read")

    asyncio.run(send_request())
    assert passed == [untouched, untouched]
    store.close()


def test_what_cannot_be_written_is_refused_with_limits_too(limited_server: Bare) -> None:
    """A lone surrogate in the model name, which the error would quote."""
    body = b'{"model": "\\ud800", "max_tokens": 999999999, "messages": []}'
    headers = {"authorization": "Bearer sk-first-0123456789", "content-type": "application/json"}
    with limited_server.http() as http:
        answer = http.post("/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert "lone surrogate" in answer.json()["error"]["message"]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def limited(folder: Path, clock: Clock, **settings: Any) -> Any:
    """A function that sends a request to a rate-limited application; returns the headers or raises the error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert json.loads((await receive())["body"])["model"] == "m"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    chosen = Settings(**settings)
    limits, keys = RateLimit(app, chosen, clock), KeyRing(chosen.keys(), Store(folder).api_keys)

    def send_request(
        key: str = "Bearer one", path: str = "/v1/completions", inside: bool = False, **body: Any
    ) -> dict[str, str]:
        headers: dict[str, str] = {}
        raw = json.dumps({"model": "m", **body}).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": raw}

        async def send(message: Any) -> None:
            headers.update({name.decode(): value.decode() for name, value in message["headers"]})

        async def handle() -> None:
            fields = [(b"authorization", key.encode())]
            caller = await authenticate(Headers(raw=fields), keys)
            scope = {"type": "http", "method": "POST", "path": path, "headers": fields, "state": {"caller": caller}}
            await limits(scope | ({INTERNAL_CALLER: True} if inside else {}), receive, send)

        asyncio.run(handle())
        return headers

    return send_request


def test_requests_per_minute(tmp_path: Path) -> None:
    clock = Clock()
    send_request = limited(tmp_path, clock, requests_per_minute=3, api_keys="one,two")
    assert send_request() == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "20s",
    }
    send_request()
    assert send_request()["x-ratelimit-reset-requests"] == "1m0s"
    clock.now_s = 5
    with pytest.raises(RateLimitError) as caught:
        send_request()
    error: Any = caught.value
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.message == (
        "Rate limit reached for m in organization personal on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 15s."
    )
    assert (error.headers["retry-after"], error.headers["retry-after-ms"]) == ("15", "15000")
    assert send_request("Bearer two")  # another key
    assert send_request(path="/v1/files") == {}  # only requests for answers
    assert send_request(inside=True) == {}  # lines of batches
    with pytest.raises(RateLimitError):
        send_request("bearer one")  # the same key
    clock.now_s = 20.001
    assert send_request()["x-ratelimit-remaining-requests"] == "0"


def test_tokens_per_minute(tmp_path: Path) -> None:
    clock = Clock()
    send_request = limited(
        tmp_path, clock, tokens_per_minute=600
    )  # without keys: one budget, whatever a client calls its key
    assert send_request(prompt="x" * 400, max_tokens=7)["x-ratelimit-remaining-tokens"] == "500"
    assert send_request(prompt="x", max_tokens=300)["x-ratelimit-remaining-tokens"] == "200"
    assert send_request("Bearer other", prompt=[1] * 50)["x-ratelimit-remaining-tokens"] == "150"
    assert send_request(messages=[{"role": "", "content": "x" * 200}])["x-ratelimit-remaining-tokens"] == "100"
    for tokens, headers in ((101, {"retry-after": "1", "retry-after-ms": "100"}), (601, {"x-should-retry": "false"})):
        with pytest.raises(RateLimitError, match="tokens per min") as caught:
            send_request(max_tokens=tokens)
        error: Any = caught.value
        assert (error.status, error.type) == (429, "tokens")
        assert headers.items() <= error.headers.items()
        assert ("retry-after" in error.headers) is (tokens == 101)


def test_limits_over_http(
    tiny_base: Path, scripted_engine: ScriptedEngine, tmp_path: Path, limited_server: Bare
) -> None:
    scripted_engine.say("yes")
    assert int(post(limited_server).headers["x-ratelimit-remaining-requests"]) < 200
    with bare_server(tmp_path, tiny_base, scripted_engine, requests_per_minute=1) as small:
        client = small.client()
        assert client.chat.completions.create(**ASKED).choices
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**ASKED)
        assert body_of(caught.value)["type"] == "requests"
        assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
        assert client.models.list().data


def test_no_limit_headers_without_limits(scripted_server: Bare) -> None:
    with scripted_server.http() as http:
        answer = http.post("/chat/completions", json=ASKED)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_pages_of_an_origin_that_was_let_in(limited_server: Bare) -> None:
    origin = {"origin": "https://app.example"}
    with limited_server.http() as http:
        preflight = http.options(
            "/chat/completions",
            headers=origin
            | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"},
        )
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = post(limited_server, headers=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    refused = post(limited_server, headers={"origin": "https://evil.example"})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)
    with limited_server.http() as http:  # without a key: refused, in a way that the page can read
        assert http.get("/models", headers=origin).headers["access-control-allow-origin"] == "https://app.example"


def test_all_pages_only_where_keys_are_asked_for() -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins="*")
    assert Settings(cors_origins="*", api_keys="sk-1").cors_origins == ["*"]


def test_moderation_is_not_available(client: OpenAI) -> None:
    for params in ({}, {"model": "text-moderation-latest"}, {"model": "gpt-4o-mini"}):
        with pytest.raises(openai.NotFoundError) as caught:
            client.moderations.create(input="x", **params)
        error = body_of(caught.value)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "--aliases" in str(error["message"])
    with pytest.raises(openai.BadRequestError) as bad:
        client.moderations.create(input=3)  # type: ignore[arg-type]
    assert body_of(bad.value)["param"] == "input"


def test_moderation_elsewhere(tiny_base: Path, tmp_path: Path) -> None:
    """Under the alias, directly and in a batch."""
    preflight = []

    async def moderate(request: Request) -> JSONResponse:
        preflight.append(await request.json())
        return JSONResponse({"id": "modr-1", "model": "far-7", "results": [{"flagged": True}]})

    far = Starlette(routes=[Route("/moderations", moderate, methods=["POST"])])
    aliases = {"omni-moderation-latest": "upstream:far"}
    with (
        serving(far) as url,
        bare_server(tmp_path, tiny_base, aliases=aliases, upstream_base_url=url) as limited_server,
    ):
        client = limited_server.client()
        assert client.moderations.create(input="x").model == "far-7"
        assert preflight == [{"input": "x", "model": "far"}]
        line = {"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": {"input": "y"}}
        file = client.files.create(file=("x.jsonl", json.dumps(line).encode()), purpose="batch").id
        batch = client.batches.create(input_file_id=file, endpoint="/v1/moderations", completion_window="24h").id
        until(lambda: client.batches.retrieve(batch).status == "completed")
        assert preflight[1] == {"input": "y", "model": "far"}
