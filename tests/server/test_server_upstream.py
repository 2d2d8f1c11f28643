"""Models of the upstream service, here a small stand-in that records its requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, bare_server, body_of, hang_up, serving, until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CHAT: Any = "/v1/chat/completions"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
CLIENT_KEY, UPSTREAM_KEY = "sk-client-0123456789", "sk-upstream-9876543210"
ANSWER = {
    "id": "chatcmpl-far",
    "object": "chat.completion",
    "created": 1,
    "model": "far-2",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "From afar 远"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
CHUNK = ANSWER | {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "远"}, "finish_reason": None}],
}
FAILURES = {
    "busy": (429, {"retry-after": "7"}, "Slow down."),
    "spent": (429, {}, "You exceeded your current quota."),
    "never": (429, {"x-should-retry": "false"}, "Request too large."),
    "bad": (400, {}, "Bad parameter."),
    "down": (500, {"x-should-retry": "false"}, "Sorry."),
    "key": (401, {}, f"Incorrect API key provided: {UPSTREAM_KEY}."),
}

UNREADABLE = {
    "page": "<html>Bad gateway</html>",
    "list": "[1]",
    "nan": '{"usage": NaN}',
    "half": '{"id": "\\ud800"}',
    "odd": '{"id": "x", "usage": {"prompt_tokens": "many", "prompt_tokens_details": 3}}',
}


class Far:
    """The stand-in: its behavior depends on the requested model."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.left = 0  # clients that went away before their answer was complete
        paths = ("chat/completions", "responses", "responses/input_tokens", "responses/compact")
        self.app = Starlette(routes=[Route(f"/api/{path}", self.answer, methods=["POST"]) for path in paths])

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((dict(request.headers), body))
        model = body["model"]
        if model in FAILURES:
            status, headers, message = FAILURES[model]
            error = {
                "message": message,
                "type": "far_error",
                "param": None,
                "code": "insufficient_quota" if model == "spent" else "far",
            }
            return JSONResponse({"error": error}, status, headers)
        if model in UNREADABLE:
            return Response(UNREADABLE[model], media_type="text/html")
        if model == "slow" and not body.get("stream"):
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.left += 1
        if body.get("stream"):
            return StreamingResponse(self.stream(model), media_type="text/event-stream")
        return JSONResponse(ANSWER, headers={"x-request-id": "req_far"})

    async def stream(self, model: str) -> AsyncIterator[str]:
        for _ in range(3):
            yield f"data: {json.dumps(CHUNK)}\n\n"
        if model == "torn":
            yield 'data: {"id": "chat'
        if model in ("broken", "torn"):
            raise RuntimeError("the stand-in breaks off")
        try:
            while model == "slow":
                yield f"data: {json.dumps(CHUNK)}\n\n"
                await asyncio.sleep(0.02)
        finally:
            self.left += model == "slow"
        yield "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def far() -> Far:
    return Far()


@pytest.fixture(scope="module")
def near(far: Far, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server with aliases of models at `far`."""
    names = {name: f"upstream:{name}" for name in ("slow", "broken", "torn", *UNREADABLE, *FAILURES)}
    aliases = {"teacher": "upstream:far-2", "far-name": "upstream:", **names}
    with (
        serving(far.app) as url,
        bare_server(
            tmp_path_factory.mktemp("near"),
            tiny_base,
            aliases=aliases,
            api_keys=CLIENT_KEY,
            upstream_base_url=f"{url}/api",
            upstream_api_key=UPSTREAM_KEY,
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def near_client(near: Bare) -> OpenAI:
    return near.client(api_key=CLIENT_KEY, default_headers={"OpenAI-Organization": "org-of-the-client"})


def complete(client: OpenAI, model: str, **params: Any) -> Any:
    return client.chat.completions.create(model=model, messages=HELLO, **params)


def test_plain(near_client: OpenAI, far: Far) -> None:
    raw = near_client.chat.completions.with_raw_response.create(model="teacher", messages=HELLO, temperature=0.5)
    completion = raw.parse()
    assert (completion.id, completion.choices[0].message.content) == ("chatcmpl-far", "From afar 远")
    assert raw.headers["x-request-id"] == "req_far"
    assert raw.headers["x-luthier-served-by"] == "upstream:far-2"
    headers, body = far.requests[-1]
    assert body == {"model": "far-2", "messages": HELLO, "temperature": 0.5}
    assert headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert CLIENT_KEY not in str(headers)
    assert "org-of-the-client" not in str(headers)
    assert UPSTREAM_KEY not in str(raw.headers) + raw.text


@pytest.mark.parametrize("path", ["/responses", "/responses/input_tokens", "/responses/compact"])
def test_responses_pass(near: Bare, far: Far, path: str) -> None:
    """As they were sent, also what no local model takes."""
    body = {"model": "teacher", "input": "hello", "tools": [{"type": "web_search"}], "previous_response_id": "resp_far"}
    with near.http() as http:
        answer = http.post(path, json=body, headers={"authorization": f"Bearer {CLIENT_KEY}"})
    assert (answer.status_code, answer.json()) == (200, ANSWER)
    assert far.requests[-1][1] == {**body, "model": "far-2"}


def test_the_same_name_there(near_client: OpenAI, far: Far) -> None:
    complete(near_client, "far-name")
    assert far.requests[-1][1]["model"] == "far-name"


def test_what_is_asked_is_for_the_other_service_to_check(near_client: OpenAI, far: Far) -> None:
    """Images, response formats and unknown parameters are forwarded."""
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    extra = {"store": True, "response_format": {"type": "json_object"}, "new_thing": {"a": [1]}}
    near_client.chat.completions.create(model="teacher", messages=image, extra_body=extra)
    assert far.requests[-1][1] == {"model": "far-2", "messages": image, **extra}


def test_streamed(near_client: OpenAI) -> None:
    chunks = list(complete(near_client, "teacher", stream=True))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "远远远"


@pytest.mark.parametrize("stream", [False, True])
def test_refusals_pass(near_client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError) as busy:
        complete(near_client, "busy", stream=stream)
    assert busy.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.BadRequestError, match=r"Bad parameter\."):
        complete(near_client, "bad", stream=stream)
    with pytest.raises(openai.InternalServerError) as down:
        complete(near_client, "down", stream=stream)
    assert down.value.response.headers["x-should-retry"] == "false"


def test_a_key_that_is_refused_there_is_not_the_clients(near_client: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        complete(near_client, "key")
    error = body_of(caught.value)
    assert error["code"] == "upstream_refused"
    assert UPSTREAM_KEY[-6:] not in str(error)


@pytest.mark.parametrize("model", ["broken", "torn"])
def test_a_stream_that_breaks_off(near_client: OpenAI, model: str) -> None:
    """Connections that break between two events, and in the middle of one."""
    with pytest.raises(openai.APIError, match="could not be reached"):
        list(complete(near_client, model, stream=True))


def batch(client: OpenAI, model: str, lines: int = 1) -> str:
    body = {"method": "POST", "url": CHAT, "body": {"model": model, "messages": HELLO}}
    content = "\n".join(json.dumps({"custom_id": str(index), **body}) for index in range(lines))
    file = client.files.create(file=("in.jsonl", content.encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id


def test_answers_that_nobody_can_read_end_a_line_of_a_batch_and_not_the_batch(near_client: OpenAI) -> None:
    batches = {model: batch(near_client, model) for model in UNREADABLE}
    for model, batch_id in batches.items():
        until(lambda batch_id=batch_id: near_client.batches.retrieve(batch_id).status == "completed")
        done = near_client.batches.retrieve(batch_id)
        if model == "odd":  # it is JSON, with a usage that says nothing
            assert (done.request_counts.completed, done.usage.input_tokens) == (1, 0)
            continue
        line = json.loads(near_client.files.content(done.error_file_id).text)
        assert line["response"]["status_code"] == 502
        assert line["response"]["body"]["error"]["code"] == "upstream_unreadable"


@pytest.mark.parametrize("model", ["spent", "never", "busy"])
def test_a_limit_that_does_not_pass_ends_a_line(
    near_client: OpenAI, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A permanent limit by its code, by its header, or after the maximum wait."""
    monkeypatch.setattr(
        "luthier.server.background.loopback_client._UPSTREAM_LIMITS_S", 1.0 if model == "busy" else 600.0
    )
    batch_id = batch(near_client, model)
    until(lambda: near_client.batches.retrieve(batch_id).status == "completed")
    line = json.loads(near_client.files.content(near_client.batches.retrieve(batch_id).error_file_id).text)
    assert line["response"]["status_code"] == 429


def test_lines_that_wait_for_a_service_elsewhere_let_others_pass(near_client: OpenAI) -> None:
    waiting = batch(near_client, "busy", lines=50)
    until(lambda: near_client.batches.retrieve(waiting).status == "in_progress")
    passing = batch(near_client, "teacher")
    until(lambda: near_client.batches.retrieve(passing).status == "completed")
    near_client.batches.cancel(waiting)
    until(lambda: near_client.batches.retrieve(waiting).status == "cancelled")


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_an_evaluation_that_waits_can_be_ended(near_client: OpenAI, end: str) -> None:
    example = {"messages": [*HELLO, {"role": "assistant", "content": "x"}]}
    file = near_client.files.create(file=("v.jsonl", json.dumps(example).encode()), purpose="fine-tune")

    def evaluation(model: str) -> str:
        body = {"model": model, "validation_file": file.id}
        created: Any = near_client.post("/evaluations", cast_to=object, body=body)
        return f"/evaluations/{created['id']}"

    def status(path: str) -> str:
        stored: Any = near_client.get(path, cast_to=object)
        return stored["status"]

    waiting, next_one = evaluation("busy"), evaluation("teacher")
    until(lambda: status(waiting) == "running")
    if end == "cancel":
        near_client.post(f"{waiting}/cancel", cast_to=object)
    else:
        near_client.delete(waiting, cast_to=object)
    until(lambda: status(next_one) == "succeeded")


@pytest.mark.parametrize("stream", [False, True])
def test_hanging_up_here_hangs_up_there(near: Bare, far: Far, stream: bool) -> None:
    before = far.left
    if stream:
        chunks = complete(near.client(api_key=CLIENT_KEY), "slow", stream=True)
        next(chunks)
        chunks.close()
    else:
        count, body = len(far.requests), {"model": "slow", "messages": HELLO}
        hang_up(f"{near.url}/v1/chat/completions", body, lambda: len(far.requests) > count, CLIENT_KEY)
    until(lambda: far.left == before + 1)


def test_unreachable(tiny_base: Path, tmp_path: Path) -> None:
    settings = {"aliases": {"teacher": "upstream:x"}, "upstream_base_url": "http://127.0.0.1:9/v1"}
    with bare_server(tmp_path, tiny_base, **settings) as running, pytest.raises(openai.InternalServerError) as caught:
        complete(running.client(), "teacher")
    assert caught.value.status_code == 503
    assert body_of(caught.value)["code"] == "upstream_unreachable"


def test_not_configured(tiny_base: Path, tmp_path: Path) -> None:
    """A permanent error, with the header that stops clients from retrying."""
    with bare_server(tmp_path, tiny_base, aliases={"teacher": "upstream:x"}) as running:
        with pytest.raises(openai.InternalServerError) as caught:
            complete(running.client(), "teacher")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert body_of(caught.value)["code"] == "upstream_not_configured"
        file = running.client().files.create(file=("x.jsonl", b"{}"), purpose="fine-tune")
        with pytest.raises(openai.BadRequestError) as caught:
            running.client().fine_tuning.jobs.create(model="teacher", training_file=file.id)
        assert body_of(caught.value)["code"] == "model_not_available"
