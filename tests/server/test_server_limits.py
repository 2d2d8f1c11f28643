"""What an operator may limit or open: requests, tokens, origins; answers given again; moderation elsewhere."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import ValidationError
from serving import Bare, ScriptedEngine, bare_server, body_of, serving, until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.middleware.idempotency import Idempotency
from luthier.server.middleware.rate_limit import RateLimit
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.idempotency_keys import Kept, replays
from luthier.types.errors import RateLimitError

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ASKED = {"model": "gpt-4o-mini", "messages": HELLO}
KEYS = "sk-first-0123456789,sk-second-0123456789"


@pytest.fixture(scope="module")
def speaker(tiny_base: Path) -> ScriptedEngine:
    return ScriptedEngine(tiny_base)


@pytest.fixture(scope="module")
def place(tiny_base: Path, speaker: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """With keys, limits that tests do not reach by chance, and an origin."""
    limits: dict[str, Any] = {"requests_per_minute": 200, "tokens_per_minute": 100_000}
    data = tmp_path_factory.mktemp("limited")
    with bare_server(data, tiny_base, speaker, api_keys=KEYS, cors_origins="https://App.example/", **limits) as running:
        yield running


def post(place: Bare, key: str = "first", **given: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer sk-{key}-0123456789", **given.pop("headers", {})}
    with place.http() as http:
        return http.post(given.pop("path", "/chat/completions"), headers=headers, json={**ASKED, **given})


def again(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


def test_the_same_key_and_body_get_the_same_answer(place: Bare, speaker: ScriptedEngine) -> None:
    speaker.say("one", "two", "three", "four")
    answers = [post(place, headers=again("a")) for _ in range(3)]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert len(speaker.prompts) == 1
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    assert post(place, headers=again("b")).json()["id"] != answers[0].json()["id"]
    assert post(place, "second", headers=again("a")).json()["id"] != answers[0].json()["id"]  # another's key


def test_a_key_with_another_body_is_refused(place: Bare, speaker: ScriptedEngine) -> None:
    speaker.say("x")
    post(place, headers=again("other"))
    for given in ({"n": 2}, {"path": "/completions"}):
        answer = post(place, headers=again("other"), **given)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert post(place, headers=again("k" * 256)).status_code == 400


def test_errors_and_streams_are_not_kept(place: Bare, speaker: ScriptedEngine) -> None:
    assert post(place, headers=again("mended"), temperature=9).status_code == 400
    assert post(place, headers=again("mended")).status_code == 200
    speaker.say("one", "two")
    streams = [post(place, headers=again("stream"), stream=True).text for _ in range(2)]
    assert streams[0] != streams[1]
    assert len(speaker.prompts) == 2


def test_what_is_under_way_is_not_begun_twice(place: Bare, speaker: ScriptedEngine) -> None:
    """The second is told to come again, as clients do by themselves, and gets the answer of the first then."""
    speaker.say("a", endless=True, pause_s=0.01)
    first: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: first.append(post(place, headers=again("twice"), max_tokens=300)))
    caller.start()
    until(lambda: speaker.under_way == 1)
    answer = post(place, headers=again("twice"), max_tokens=300)
    assert (answer.status_code, answer.headers["retry-after"]) == (409, "1")
    client = place.client(api_key="sk-first-0123456789", max_retries=20)
    made = client.chat.completions.create(**ASKED, max_tokens=300, extra_headers=again("twice"))
    caller.join()
    assert made.id == first[0].json()["id"]
    speaker.say("")


def test_a_job_is_created_once(bare_client: OpenAI) -> None:
    file = bare_client.files.create(file=("x.jsonl", b"{}\n"), purpose="fine-tune").id
    jobs = [
        bare_client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file, extra_headers=again("job-once")).id
        for _ in range(2)
    ]
    assert jobs[0] == jobs[1]


def test_answers_are_kept_for_a_day_and_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr("luthier.store.idempotency_keys.MOST_KEPT", 3)
    for at in range(5):
        store.replays.keep(f"k{at}", Kept("asked", 200, {}, b"x"))
    assert [store.replays.find(f"k{at}") is not None for at in range(5)] == [False, False, True, True, True]
    with store._database.write() as connection:
        connection.execute(replays.update().values(created_at=1))
    assert store.replays.find("k4") is None
    store.replays.keep("large", Kept("asked", 200, {}, b"x" * (1024 * 1024 + 1)))
    assert store.replays.find("large") is None
    store.close()


def test_a_key_makes_nobody_hold_a_file_in_memory(tmp_path: Path) -> None:
    """Where files are sent the body goes past, whatever its content type says it is."""
    store, passed = Store(tmp_path), []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(receive)

    async def ask() -> None:
        for path in ("/v1/files", "/v1/uploads/upload_x/parts"):
            headers = [(b"idempotency-key", b"k"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
            await Idempotency(application, store)(scope, untouched, untouched)

    async def untouched(*_: Any) -> Any:
        raise AssertionError("the body was read")

    asyncio.run(ask())
    assert passed == [untouched, untouched]
    store.close()


def test_what_cannot_be_written_is_refused_with_limits_too(place: Bare) -> None:
    """Half a character in the name of a model that the refusal would repeat."""
    body = b'{"model": "\\ud800", "max_tokens": 999999999, "messages": []}'
    headers = {"authorization": "Bearer sk-first-0123456789", "content-type": "application/json"}
    with place.http() as http:
        answer = http.post("/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert "half a character" in answer.json()["error"]["message"]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def limited(clock: Clock, **settings: Any) -> Any:
    """A function that sends a request to a limited application and gives its headers, or the error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert json.loads((await receive())["body"])["model"] == "m"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    limits = RateLimit(app, Settings(**settings), clock)

    def ask(
        key: str = "Bearer one", path: str = "/v1/completions", inside: bool = False, **body: Any
    ) -> dict[str, str]:
        headers: dict[str, str] = {}
        raw = json.dumps({"model": "m", **body}).encode()

        async def receive() -> Any:
            return {"type": "http.request", "body": raw}

        async def send(message: Any) -> None:
            headers.update({name.decode(): value.decode() for name, value in message["headers"]})

        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"authorization", key.encode())]}
        asyncio.run(limits(scope | ({INTERNAL_CALLER: True} if inside else {}), receive, send))
        return headers

    return ask


def test_requests_per_minute() -> None:
    clock = Clock()
    ask = limited(clock, requests_per_minute=3, api_keys="one,two")
    assert ask() == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "20s",
    }
    ask()
    assert ask()["x-ratelimit-reset-requests"] == "1m0s"
    clock.now_s = 5
    with pytest.raises(RateLimitError) as caught:
        ask()
    error: Any = caught.value
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.message == (
        "Rate limit reached for m in organization personal on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 15s."
    )
    assert (error.headers["retry-after"], error.headers["retry-after-ms"]) == ("15", "15000")
    assert ask("Bearer two")  # another key
    assert ask(path="/v1/files") == {}  # only requests for answers
    assert ask(inside=True) == {}  # lines of batches
    with pytest.raises(RateLimitError):
        ask("bearer one")  # the same key
    clock.now_s = 20.001
    assert ask()["x-ratelimit-remaining-requests"] == "0"


def test_tokens_per_minute() -> None:
    clock = Clock()
    ask = limited(clock, tokens_per_minute=600)  # without keys: one budget, whatever a client calls its key
    assert ask(prompt="x" * 400, max_tokens=7)["x-ratelimit-remaining-tokens"] == "500"
    assert ask(prompt="x", max_tokens=300)["x-ratelimit-remaining-tokens"] == "200"
    assert ask("Bearer other", prompt=[1] * 50)["x-ratelimit-remaining-tokens"] == "150"
    assert ask(messages=[{"role": "", "content": "x" * 200}])["x-ratelimit-remaining-tokens"] == "100"
    for tokens, headers in ((101, {"retry-after": "1", "retry-after-ms": "100"}), (601, {"x-should-retry": "false"})):
        with pytest.raises(RateLimitError, match="tokens per min") as caught:
            ask(max_tokens=tokens)
        error: Any = caught.value
        assert (error.status, error.type) == (429, "tokens")
        assert headers.items() <= error.headers.items()
        assert ("retry-after" in error.headers) is (tokens == 101)


def test_limits_over_http(tiny_base: Path, speaker: ScriptedEngine, tmp_path: Path, place: Bare) -> None:
    speaker.say("yes")
    assert int(post(place).headers["x-ratelimit-remaining-requests"]) < 200
    with bare_server(tmp_path, tiny_base, speaker, requests_per_minute=1) as small:
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


def test_pages_of_an_origin_that_was_let_in(place: Bare) -> None:
    origin = {"origin": "https://app.example"}
    with place.http() as http:
        asked = http.options(
            "/chat/completions",
            headers=origin
            | {"access-control-request-method": "POST", "access-control-request-headers": "authorization"},
        )
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://app.example")
    answer = post(place, headers=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    refused = post(place, headers={"origin": "https://evil.example"})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)
    with place.http() as http:  # without a key: refused, in a way that the page can read
        assert http.get("/models", headers=origin).headers["access-control-allow-origin"] == "https://app.example"


def test_all_pages_only_where_keys_are_asked_for() -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins="*")
    assert Settings(cors_origins="*", api_keys="sk-1").cors_origins == ["*"]


def test_moderation_is_not_available(client: OpenAI) -> None:
    for given in ({}, {"model": "text-moderation-latest"}, {"model": "gpt-4o-mini"}):
        with pytest.raises(openai.NotFoundError) as caught:
            client.moderations.create(input="x", **given)
        error = body_of(caught.value)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "--aliases" in str(error["message"])
    with pytest.raises(openai.BadRequestError) as bad:
        client.moderations.create(input=3)  # type: ignore[arg-type]
    assert body_of(bad.value)["param"] == "input"


def test_moderation_elsewhere(tiny_base: Path, tmp_path: Path) -> None:
    """Under its own name, in a batch too."""
    asked = []

    async def moderate(request: Request) -> JSONResponse:
        asked.append(await request.json())
        return JSONResponse({"id": "modr-1", "model": "far-7", "results": [{"flagged": True}]})

    far = Starlette(routes=[Route("/moderations", moderate, methods=["POST"])])
    aliases = {"omni-moderation-latest": "upstream:far"}
    with (
        serving(far) as url,
        bare_server(tmp_path, tiny_base, aliases=aliases, upstream_base_url=url) as place,
    ):
        client = place.client()
        assert client.moderations.create(input="x").model == "far-7"
        assert asked == [{"input": "x", "model": "far"}]
        line = {"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": {"input": "y"}}
        file = client.files.create(file=("x.jsonl", json.dumps(line).encode()), purpose="batch").id
        batch = client.batches.create(input_file_id=file, endpoint="/v1/moderations", completion_window="24h").id
        until(lambda: client.batches.retrieve(batch).status == "completed", within_s=20)
        assert asked[1] == {"input": "y", "model": "far"}
