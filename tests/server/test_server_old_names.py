"""Names of models that were fine-tuned at another service: at that service while they live, here afterwards."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, make_model, serving, until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from luthier.types.aliases import parse_target, write_target

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
OLD = "ft:gpt-4o-mini-2024-07-18:acme:support:AbCd1234"
OTHER = "ft:gpt-4.1-2025-04-14:acme::ZzYy9876:ckpt-step-90"
LOCAL = "ft:gpt-4o-mini-2024-07-18:personal:support:aaaabbbb"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
GONE = [
    (404, {"code": "model_not_found", "message": "The model does not exist"}),
    (404, {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}),
    (410, {"code": None, "message": "Gone."}),
    (400, {"code": "model_deprecated", "message": "This model was shut down."}),
    (403, {"code": "model_not_available", "message": "Fine-tuned models are no longer available."}),
]
STILL_THERE = [
    (404, {"code": None, "message": "Invalid URL"}),
    (400, {"code": "invalid_value", "message": "Bad temperature."}),
    (403, {"code": "model_not_found", "message": "Project does not have access to model."}),
    (401, {"code": "invalid_api_key", "message": "Incorrect API key."}),
    (429, {"code": "rate_limit_exceeded", "message": "Slow down."}),
    (500, {"code": "model_deprecated", "message": "Sorry."}),
]


class OldService:
    """Answers chats and completions until `error` is set: a status and an error object."""

    def __init__(self) -> None:
        self.reset()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models/{name}", self.model),
                Route("/v1/completions", self.completion, methods=["POST"]),
            ]
        )

    def reset(self) -> None:
        self.error: tuple[int, dict[str, Any]] | None = None
        self.models: list[str] = []  # of all requests
        self.message: dict[str, Any] | None = None
        self.deltas: list[dict[str, Any]] = []
        self.id = ""  # of every answer; else each has its own
        self.breaks_off = False
        self.shutdown_dates: dict[str, str] = {}  # by model

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        date = self.shutdown_dates.get(name)
        return JSONResponse({"id": name, "object": "model", "shutdown_date": date}, 200 if date else 404)

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "old"}}
        if self.message:
            choice["message"] = self.message
        deltas = self.deltas or [{"role": "assistant", "content": "o"}, {"content": "ld"}]
        chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        return self._answer(body, "chat.completion", choice, chunks)

    async def completion(self, request: Request) -> Response:
        choice = {"index": 0, "finish_reason": "stop", "text": "old", "logprobs": None}
        return self._answer(await request.json(), "text_completion", choice, [choice])

    def _answer(self, body: dict[str, Any], kind: str, choice: dict[str, Any], chunks: list[Any]) -> Response:
        self.models.append(body["model"])
        if self.error:
            status, error = self.error
            return JSONResponse({"error": {"type": "invalid_request_error", "param": None, **error}}, status)
        answer = {"id": self.id or f"cmpl-old-{len(self.models)}", "object": kind, "created": 1, "model": body["model"]}
        if not body.get("stream"):
            return JSONResponse({**answer, "choices": [choice], "usage": USAGE})
        lines = [f"data: {json.dumps({**answer, 'choices': [chunk]})}\n\n" for chunk in chunks]
        end = [] if self.breaks_off else ["data: [DONE]\n\n"]
        return StreamingResponse(iter([*lines, *end]), media_type="text/event-stream")


@pytest.fixture(scope="module")
def old_service() -> Iterator[tuple[OldService, str]]:
    service = OldService()
    with serving(service.app) as url:
        yield service, f"{url}/v1"


@pytest.fixture(autouse=True)
def old(old_service: tuple[OldService, str]) -> OldService:
    service = old_service[0]
    service.__dict__ |= {
        "error": None,
        "message": None,
        "deltas": [],
        "id": "",
        "breaks_off": False,
        "shutdown_dates": {},
    }
    service.models.clear()
    return service


@contextmanager
def near(
    old_service: tuple[OldService, str], base: Path, data: Path, aliases: dict[str, str], **settings: Any
) -> Iterator[Bare]:
    """A server that says "new", with the fine-tuned model LOCAL in the default project."""
    engine = ScriptedEngine(base)
    engine.say("new")
    upstream = {"upstream_base_url": old_service[1], "upstream_api_key": "sk-old"}
    with bare_server(data / "data", base, engine, aliases=aliases, **(upstream | settings)) as running:
        make_model(running, running.client(api_key=settings.get("api_keys", "none").split(",")[0]), LOCAL, data / "a")
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


def ask(client: OpenAI, model: str, *, stream: bool = False) -> tuple[str, str]:
    """The answer and the header that names what gave it."""
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, stream=stream)
    answer: Any = raw.parse()
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    else:
        text = answer.choices[0].message.content
    return text, raw.headers["x-luthier-served-by"]


def complete(client: OpenAI, model: str, *, stream: bool = False) -> str:
    answer: Any = client.completions.create(model=model, prompt="Hello", stream=stream)
    return "".join(chunk.choices[0].text for chunk in answer) if stream else answer.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_an_old_name_goes_to_the_old_service(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path, stream: bool
) -> None:
    with near(old_service, tiny_base, data, {OLD: "upstream:", "support": f"upstream:{OTHER}"}) as running:
        client = running.client()
        assert ask(client, OLD, stream=stream) == ("old", f"upstream:{OLD}")
        assert ask(client, "support", stream=stream) == ("old", f"upstream:{OTHER}")
        assert complete(client, OLD, stream=stream) == "old"
    assert old.models == [OLD, OTHER, OLD]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("target", [LOCAL, "BASE"])
def test_an_old_name_goes_to_a_model_here(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path, target: str, stream: bool
) -> None:
    with near(old_service, tiny_base, data, {OLD: target.replace("BASE", str(tiny_base))}) as running:
        client = running.client()
        assert ask(client, OLD, stream=stream) == ("new", "tiny")
        assert complete(client, OLD, stream=stream) == "new"
        assert client.chat.completions.create(model=OLD, messages=HELLO).model == OLD
    assert old.models == []


@pytest.mark.parametrize("stream", [False, True])
def test_the_successor_answers_when_the_old_service_says_that_the_model_is_gone(
    old: OldService,
    old_service: tuple[OldService, str],
    tiny_base: Path,
    data: Path,
    stream: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with near(old_service, tiny_base, data, {OLD: f"upstream:|{LOCAL}", OTHER: "upstream:"}) as running:
        client, upstream_models = running.client(), running.app.state.luthier.upstream_models
        for error in GONE:
            old.error = None
            upstream_models._gone_until_s.clear()
            assert ask(client, OLD, stream=stream) == ("old", f"upstream:{OLD}")
            old.error = error
            assert ask(client, OLD, stream=stream) == ("new", f"tiny; instead-of=upstream:{OLD}"), error
            requests = len(old.models)
            assert complete(client, OLD, stream=stream) == "new"
            assert len(old.models) == requests  # for a while it is not asked again
            upstream_models._gone_until_s.clear()
            assert complete(client, OLD, stream=stream) == "new"
            with pytest.raises(openai.APIStatusError):
                ask(client, OTHER, stream=stream)
        assert caplog.text.count(f"no longer has {OLD}: tiny answers for {OLD}") == 2 * len(GONE)


@pytest.mark.parametrize("stream", [False, True])
def test_other_errors_are_passed_on(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path, stream: bool
) -> None:
    with near(old_service, tiny_base, data, {OLD: f"upstream:|{LOCAL}"}) as running:
        client = running.client()
        for error in STILL_THERE:
            old.error = error
            for call in (ask, complete):
                with pytest.raises(openai.APIStatusError) as caught:
                    call(client, OLD, stream=stream)
                assert caught.value.status_code == (403 if error[0] == 401 else error[0])
        old.error = None
        assert ask(client, OLD, stream=stream)[0] == "old"


def test_a_service_that_cannot_be_reached_is_not_gone(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    nobody = {"upstream_base_url": "http://127.0.0.1:9/v1"}
    with near(old_service, tiny_base, data, {OLD: f"upstream:|{LOCAL}"}, **nobody) as running:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(running.client(), OLD)
        assert body_of(caught.value)["code"] == "upstream_unreachable"


def test_a_model_that_is_gone_is_asked_for_again_after_a_while(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.server.http.upstream_models._RECHECK_S", 0.0)
    with near(old_service, tiny_base, data, {OLD: f"upstream:|{LOCAL}"}) as running:
        old.error = GONE[0]
        assert ask(running.client(), OLD)[0] == "new"
        old.error = None
        assert ask(running.client(), OLD)[0] == "old"


@pytest.mark.parametrize("dated", [OLD, "gpt-4o-mini-2024-07-18"], ids=["model", "base"])
def test_the_successor_answers_after_the_shutdown_date(
    old: OldService,
    old_service: tuple[OldService, str],
    tiny_base: Path,
    data: Path,
    dated: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    old.shutdown_dates[dated] = "2027-01-14"
    aliases = {OLD: f"upstream:|{LOCAL}", "support": f"upstream:{OLD}"}
    with near(old_service, tiny_base, data, aliases) as running:
        client, upstream_models = running.client(), running.app.state.luthier.upstream_models
        until(lambda: client.models.retrieve(OLD).to_dict()["shutdown_date"] == "2027-01-14")
        upstream_models._today = lambda: dt.date(2027, 1, 14)
        assert ask(client, OLD)[0] == "old"
        upstream_models._today = lambda: dt.date(2027, 1, 15)
        for _ in range(2):
            assert ask(client, OLD) == ("new", f"tiny; instead-of=upstream:{OLD}")
        assert caplog.text.count(f"switched {OLD} off on 2027-01-14") == 1
        assert ask(client, "support")[0] == "old"  # it has no successor
        upstream_models._dates[OLD] = dt.date(2027, 4, 1)  # the service moved it
        assert ask(client, OLD)[0] == "old"


def test_a_successor_that_is_missing_changes_nothing(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    with near(old_service, tiny_base, data, {OLD: "upstream:|ft:never:made:x:y"}) as running:
        assert ask(running.client(), OLD)[0] == "old"
        old.error = GONE[0]
        with pytest.raises(openai.NotFoundError):
            ask(running.client(), OLD)


def test_models_tell_what_stands_behind_a_name(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    aliases = {OLD: f"upstream:|{LOCAL}", OTHER: LOCAL, "ft:a:b::c": "upstream:", "ft:a:b::d": str(tiny_base)}
    with near(old_service, tiny_base, data, {**aliases, "ft:a:b::e": "ft:never:made:x:y"}) as running:
        client = running.client()
        listed: dict[str, Any] = {model.id: model.to_dict() for model in client.models.list()}
        assert (listed[OLD]["root"], listed[OLD]["owned_by"]) == (f"upstream:{OLD}|{LOCAL}", "upstream")
        assert (listed[OTHER]["root"], listed[OTHER]["owned_by"]) == (LOCAL, "luthier")
        assert listed["ft:a:b::c"]["root"] == "upstream:ft:a:b::c"
        assert listed["ft:a:b::d"]["root"] == "tiny"
        assert "ft:a:b::e" not in listed
        for name in (*aliases, LOCAL):
            assert client.models.retrieve(name).to_dict() == {**listed[name], "tools": None}


def test_a_share_of_requests_goes_to_the_successor(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    aliases = {OLD: f"upstream:|{LOCAL}|1", OTHER: f"upstream:|{LOCAL}|0"}
    with near(old_service, tiny_base, data, aliases) as running:
        client = running.client()
        assert [ask(client, name)[0] for name in (OLD, OTHER)] == ["new", "old"]
        assert client.models.retrieve(OLD).to_dict()["root"] == f"upstream:{OLD}|{LOCAL}|1"


@pytest.mark.parametrize("share", ["2", "-0.1", "nan", "x", ""])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(ValueError, match="not a number from 0 to 1"):
        parse_target(OLD, f"upstream:|{LOCAL}|{share}")


@pytest.mark.parametrize("text", ["local", "upstream:m", "upstream:m|local", "upstream:m|local|0.25"])
def test_a_target_is_written_as_it_is_read(text: str) -> None:
    assert write_target(parse_target("m", text)) == text


def test_a_name_of_one_project(old_service: tuple[OldService, str], tiny_base: Path, data: Path) -> None:
    aliases = {f"proj_shop={OLD}": "upstream:", f"default={OLD}": LOCAL, f"proj_lab={OTHER}": "upstream:"}
    keys = "sk-everyone,proj_shop=sk-shop,proj_lab=sk-lab"
    with near(old_service, tiny_base, data, aliases, api_keys=keys) as running:
        everyone, shop, lab = (running.client(api_key=key) for key in ("sk-everyone", "sk-shop", "sk-lab"))
        assert ask(shop, OLD)[0] == "old"
        assert ask(everyone, OLD)[0] == "new"
        assert ask(lab, OTHER)[0] == "old"
        for client, name in ((lab, OLD), (shop, OTHER), (everyone, OTHER)):
            with pytest.raises(openai.NotFoundError):
                ask(client, name)
            assert name not in [model.id for model in client.models.list()]
        headers = {"OpenAI-Project": "proj_shop"}
        assert ask(everyone.with_options(default_headers=headers), OLD)[0] == "old"


def test_another_projects_model_is_not_reached_through_a_name(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    keys = "sk-everyone,proj_shop=sk-shop"
    with near(old_service, tiny_base, data, {OLD: LOCAL}, api_keys=keys) as running:
        assert ask(running.client(api_key="sk-everyone"), OLD)[0] == "new"
        with pytest.raises(openai.NotFoundError) as caught:
            ask(running.client(api_key="sk-shop"), OLD)
        assert LOCAL not in str(body_of(caught.value))


def test_an_unknown_old_name_is_told_how_to_set_it(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    with near(old_service, tiny_base, data, {}) as running:
        client = running.client()
        for call in (lambda: ask(client, OLD), lambda: complete(client, OLD), lambda: client.models.retrieve(OLD)):
            with pytest.raises(openai.NotFoundError) as caught:
                call()
            error = body_of(caught.value)
            assert error["code"] == "model_not_found"
            assert 'LUTHIER_ALIASES=\'{"NAME": "upstream:"}\'' in str(error["message"])
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, "gpt-nope")
        assert "LUTHIER" not in str(body_of(caught.value))


def test_a_job_continues_the_model_behind_an_old_name(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    with near(old_service, tiny_base, data, {OLD: LOCAL, OTHER: f"upstream:|{LOCAL}"}) as running:
        client = running.client()
        file = client.files.create(file=("x.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=OLD, training_file=file.id)
        assert job.model == OLD
        assert running.store.jobs.get(job.id).parent == LOCAL
        limits: Any = client.get("/fine_tuning/model_limits", cast_to=object)
        assert OLD in limits
        assert OTHER not in limits
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.create(model=OTHER, training_file=file.id)


CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"id": 7}'}}
DELTAS = [
    {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **CALL, "function": {"name": "lookup"}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"id"'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ": 7}"}}]},
]
TOOLS: Any = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]


def captured(client: OpenAI, count: int, **query: Any) -> list[dict[str, Any]]:
    def completions() -> list[Any]:
        return list(client.chat.completions.list(metadata={"luthier:captured": "true"}, **query))

    until(lambda: len(completions()) >= count)
    stored = completions()
    assert len(stored) == count
    return [completion.to_dict() for completion in stored]


@pytest.mark.parametrize("stream", [False, True])
def test_captured_answers_are_stored(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path, stream: bool
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,x"}}
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [picture]}]
    old.message = {"role": "assistant", "content": None, "tool_calls": [CALL], "annotations": [{"a": 1}]}
    old.deltas = DELTAS
    with near(old_service, tiny_base, data, {"support": f"upstream:{OLD}"}, capture="default") as running:
        client = running.client()
        params: Any = {"metadata": {"ticket": "9"}, "temperature": 0.25, "tools": TOOLS, "user": "u-1"}
        answer: Any = client.chat.completions.create(model="support", messages=messages, stream=stream, **params)
        answer_id = {chunk.id for chunk in answer}.pop() if stream else answer.id
        [stored] = captured(client, 1, model="support")
        assert stored["id"] == answer_id
        assert stored["choices"][0]["message"]["tool_calls"] == [CALL]
        assert stored["choices"][0]["finish_reason"] == "stop"
        assert stored["usage"]["total_tokens"] == (0 if stream else 5)
        assert (stored["temperature"], stored["tools"], stored["input_user"]) == (0.25, TOOLS, "u-1")
        tags = {"ticket": "9", "luthier:captured": "true", "luthier:upstream_model": OLD}
        assert stored["metadata"] == tags
        sent = client.chat.completions.messages.list(answer_id).data
        assert [message.content for message in sent] == ["Be brief.", None]
        assert sent[1].to_dict()["content_parts"] == [picture]
        assert client.chat.completions.retrieve(answer_id).choices[0].message.tool_calls


def test_capturing_changes_no_byte(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    old.id = "chatcmpl-same"
    with near(old_service, tiny_base, data, {OLD: "upstream:"}, capture="all") as running, running.http() as near_http:
        for stream in (False, True):
            body = {"model": OLD, "messages": HELLO, "stream": stream}
            there = httpx.post(f"{old_service[1]}/chat/completions", json=body)
            here = near_http.post("/chat/completions", json=body)
            assert here.content == there.content
            assert here.headers["content-type"] == there.headers["content-type"]
        first, second = captured(running.client(), 2)
        assert first["id"] == "chatcmpl-same"
        assert second["id"] != first["id"]  # an id that was given twice does not lose the second answer
        assert first["choices"][0]["message"]["content"] == second["choices"][0]["message"]["content"] == "old"


def test_only_the_projects_that_are_named_are_captured(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"api_keys": "sk-everyone,proj_shop=sk-shop", "capture": "proj_shop"}
    with near(old_service, tiny_base, data, {OLD: "upstream:"}, **settings) as running:
        assert caplog.text.count("capture is on for proj_shop") == 1
        everyone, shop = running.client(api_key="sk-everyone"), running.client(api_key="sk-shop")
        for client in (everyone, shop):
            ask(client, OLD)
            ask(client, OLD, stream=True)
        assert {stored["model"] for stored in captured(shop, 2)} == {OLD}
        captured(everyone, 2)  # those of the shop, which the whole organization sees


def test_nothing_is_captured_unless_it_is_set(
    old_service: tuple[OldService, str], tiny_base: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with near(old_service, tiny_base, data, {OLD: "upstream:"}) as running:
        ask(running.client(), OLD)
        assert captured(running.client(), 0) == []
    assert "capture" not in caplog.text


def test_answers_that_are_not_complete_or_not_the_old_services_are_not_captured(
    old: OldService, old_service: tuple[OldService, str], tiny_base: Path, data: Path
) -> None:
    aliases = {OLD: f"upstream:|{LOCAL}"}
    with near(old_service, tiny_base, data, aliases, capture="all", stored_completions=2) as running:
        client = running.client()
        old.breaks_off = True
        ask(client, OLD, stream=True)
        old.error = STILL_THERE[1]
        with pytest.raises(openai.BadRequestError):
            ask(client, OLD)
        old.error = GONE[0]
        assert ask(client, OLD)[0] == "new"
        running.app.state.luthier.upstream_models._gone_until_s.clear()
        old.error, old.breaks_off = None, False
        assert captured(client, 0) == []
        ids = [client.chat.completions.create(model=OLD, messages=HELLO).id for _ in range(4)]
        until(lambda: ids[-1] in [stored["id"] for stored in captured(client, 2)])


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_to_store_hurts_no_answer(
    old: OldService,
    old_service: tuple[OldService, str],
    tiny_base: Path,
    data: Path,
    stream: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with near(old_service, tiny_base, data, {OLD: "upstream:"}, capture="all") as running:
        old.message = {"role": "assistant", "content": {"secret": "s3cret"}}
        old.deltas = [{"role": "assistant", "tool_calls": [{"index": 0, "type": "custom", "id": "s3cret"}]}]
        raw = running.client().chat.completions.with_raw_response.create(model=OLD, messages=HELLO, stream=stream)
        assert raw.status_code == 200
        if stream:
            list(raw.parse())
        until(lambda: "was not captured: fields that cannot be stored: choices.0.message" in caplog.text)
        assert "s3cret" not in caplog.text
        old.message, old.deltas = None, []
        monkeypatch.setattr("luthier.store.stored_completions.StoredCompletions.create", full)
        assert ask(running.client(), OLD, stream=stream)[0] == "old"
        until(lambda: "was not captured: OSError" in caplog.text)
