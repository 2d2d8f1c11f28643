"""Servers for tests: an application on a free port, and an engine that generates the texts of a test."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import uvicorn
from fastapi import FastAPI
from openai import OpenAI
from starlette.types import ASGIApp
from tokenizers import Tokenizer

from luthier.catalogue import Catalogue
from luthier.inference import EnginePool, EngineRequest, FinishReason, OnToken, Token
from luthier.inference.options import EngineOptions
from luthier.inference.scheduling.structured_output import GrammarMatcher
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Event, Store
from luthier.types.errors import RateLimitError
from luthier.worker import Worker, WorkerContext
from luthier.worker.runner import request_handlers
from tiny import TEMPLATE


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The address of `app`, served from a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@dataclass
class Bare:
    """A server whose worker runs batches and evaluations only: jobs keep their status until a test changes it."""

    url: str
    store: Store
    app: FastAPI

    def client(self, **options: object) -> OpenAI:
        options = {"api_key": "none-needed", "max_retries": 0, "timeout": 60, **options}
        return OpenAI(base_url=f"{self.url}/v1", **options)

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/v1", timeout=60)


def make_model(bare: Bare, client: OpenAI, name: str, folder: Path) -> str:
    """A fine-tuned model of the client's project, added as a worker adds it; `folder` becomes its adapter folder."""
    file = client.files.create(file=("x.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)
    folder.mkdir()
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    values = {"name": name, "step": 1, "metrics": {}, "source": folder, "call_form": None}
    created = bare.store.models.add_checkpoint(bare.store.jobs.get(job.id), **values, event=Event("made"), keep=3)
    assert created == name
    return name


@contextmanager
def bare_server(data: Path, base: Path, engine: "ScriptedEngine | None" = None, **settings: object) -> Iterator[Bare]:
    """With `engine`, it generates for every model."""
    server_settings = Settings(host="127.0.0.1", data=data, base=str(base), **settings)
    store = Store(data)
    app = create_app(server_settings, store, Catalogue(server_settings.cache))
    if engine is not None:
        app.state.luthier.loader.engines = EnginePool(EngineOptions(), lambda base, options: engine)
    with serving(app) as url:
        engines, loopback = app.state.luthier.engines, app.state.loopback
        context = WorkerContext(server_settings, store, Catalogue(server_settings.cache), engines, loopback)
        worker = Worker(context, request_handlers(context))
        worker.start()
        try:
            yield Bare(url, store, app)
        finally:
            worker.stop()
    store.close()


class ScriptedEngine:
    """Generates `texts` in turn, byte by byte; with `endless` it repeats the last byte until cancelled.

    After each byte it waits `pause_s`, and for `may_go_on`, which `say` sets.
    """

    context_tokens = 4096
    idle, eight_bits = True, False

    def __init__(self, base: Path, *, queue_limit: int = 64) -> None:
        self.tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self.queue_limit = queue_limit
        self.texts, self.endless, self.pause_s = [""], False, 0.0
        self.prompts: list[str] = []
        self.grammar: str | None = None  # of the newest request
        self.under_way, self.lock = 0, threading.Lock()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def say(self, *texts: str, endless: bool = False, pause_s: float = 0.0) -> None:
        self.texts, self.endless, self.pause_s = list(texts), endless, pause_s
        self.prompts.clear()
        self.may_go_on.set()

    def submit(self, generation: EngineRequest, on_token: OnToken | None = None) -> "_Script":
        if self.under_way >= self.queue_limit:
            raise RateLimitError("Too many requests are waiting.", code="rate_limit_exceeded")
        text = self.texts[len(self.prompts) % len(self.texts)]
        self.prompts.append(self.tokenizer.decode(generation.prompt, skip_special_tokens=False))
        self.grammar = generation.sampling.grammar
        with self.lock:
            self.under_way += 1
        script = _Script(self, self.tokenizer.encode(text).ids, generation.sampling.max_tokens)
        if on_token is not None:
            threading.Thread(target=script.deliver, args=(on_token,), daemon=True).start()
        return script

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        """Every token has log-probability -1 and is the most likely one."""
        scored: Future[list[Token]] = Future()
        scored.set_result([Token(token, -1.0, ((token, -1.0),)) for token in prompt[start:]])
        return scored

    def close(self) -> None:
        pass


class _Script:
    finish_reason: FinishReason | None = None
    cached_tokens = 0

    def __init__(self, engine: ScriptedEngine, ids: list[int], most: int) -> None:
        self._engine, self._ids, self._most = engine, ids, most
        self._cancelled, self._freed = threading.Event(), False

    def __iter__(self) -> Iterator[Token]:
        ids = itertools.chain(self._ids, itertools.repeat(self._ids[-1])) if self._engine.endless else self._ids
        reason: FinishReason = "stop"
        for count, token in enumerate(ids):
            if self._cancelled.is_set() or count >= self._most:
                reason = "cancelled" if self._cancelled.is_set() else "length"
                break
            yield Token(token, -1.0, ((token, -1.0),))
            time.sleep(self._engine.pause_s)
            self._engine.may_go_on.wait(60)
        self.finish_reason = reason
        self._free()

    def deliver(self, on_token: OnToken) -> None:
        for token in self:
            on_token(token)
        on_token(None)

    def cancel(self) -> None:
        self._cancelled.set()
        self._free()

    def _free(self) -> None:
        with self._engine.lock:
            self._engine.under_way -= not self._freed
            self._freed = True


def hang_up(url: str, body: dict[str, object], when: Callable[[], object], key: str = "none-needed") -> None:
    """Posts a request, and closes the connection before the response as soon as `when` returns a true value."""
    address, content = httpx.URL(url), json.dumps(body).encode()
    head = [f"POST {address.path} HTTP/1.1", "host: localhost", f"authorization: Bearer {key}"]
    head += ["content-type: application/json", f"content-length: {len(content)}"]
    with socket.create_connection((address.host, address.port or 80)) as line:
        line.sendall("\r\n".join([*head, "", ""]).encode() + content)
        until(when)


def until(condition: Callable[[], object], within_s: float = 300) -> None:
    """Polls until `condition` returns a true value; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def accepts(base: Path, grammar: str | None, text: str) -> bool:
    """Whether the grammar accepts the text as a complete response."""
    assert grammar
    matcher = GrammarMatcher(grammar, base, [257])
    for token in Tokenizer.from_file(str(base / "tokenizer.json")).encode(text).ids:
        if not matcher.allowed()[token]:
            return False
        matcher.consume(token)
    return bool(matcher.allowed()[257])


def body_of(error: openai.APIStatusError) -> dict[str, object]:
    """The error, with all four keys that OpenAI's schema requires."""
    body = error.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return body
