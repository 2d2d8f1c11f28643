"""Clients that disconnect free their queue slots: complete responses, streams, and several choices."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server, body_of, hang_up, until

from luthier.inference import EnginePool
from luthier.inference.options import EngineOptions

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def narrow(tiny_base: Path) -> ScriptedEngine:
    """Three queue slots, and generations that never end by themselves."""
    engine = ScriptedEngine(tiny_base, queue_limit=3)
    engine.context_tokens = 10**9
    engine.say("a", endless=True, pause_s=0.002)
    return engine


@pytest.fixture(scope="module")
def crowded(narrow: ScriptedEngine, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    with bare_server(tmp_path_factory.mktemp("crowded"), tiny_base, narrow) as running:
        yield running


def complete(client: OpenAI, **params: Any) -> Any:
    return client.chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, **{"max_completion_tokens": 10**8, **params}
    )


def test_in_mid_stream(crowded: Bare, narrow: ScriptedEngine) -> None:
    for n in (1, 3):
        stream = complete(crowded.client(), stream=True, n=n)
        next(stream)
        until(lambda n=n: narrow.under_way == n)
        stream.close()
        until(lambda: narrow.under_way == 0)


@pytest.mark.parametrize("n", [1, 3])
def test_on_a_plain_request(crowded: Bare, narrow: ScriptedEngine, n: int) -> None:
    body = {"model": "gpt-4o-mini", "messages": HELLO, "n": n, "max_completion_tokens": 10**8}
    hang_up(f"{crowded.url}/v1/chat/completions", body, lambda: narrow.under_way == n)
    until(lambda: narrow.under_way == 0)


def test_a_stream_that_nobody_reads(crowded: Bare, narrow: ScriptedEngine) -> None:
    """The client disconnects before the first chunk."""
    stream = complete(crowded.client(), stream=True)
    stream.close()
    until(lambda: narrow.under_way == 0)


def test_a_full_queue(crowded: Bare, narrow: ScriptedEngine) -> None:
    """Choices free their queue slots when the queue does not have enough for all of them."""
    stream = complete(crowded.client(), stream=True)
    next(stream)
    for streamed in (False, True):
        with pytest.raises(openai.RateLimitError) as caught:
            complete(crowded.client(), n=3, stream=streamed)
        assert body_of(caught.value)["code"] == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "1"
        until(lambda: narrow.under_way == 1)
    assert complete(crowded.client(), n=2, max_completion_tokens=3).usage.completion_tokens == 6
    stream.close()
    until(lambda: narrow.under_way == 0)


def test_the_real_engine_goes_on_to_the_next(server: object, client: OpenAI) -> None:
    """Cancelled generations do not delay the next request."""
    forever = {"logit_bias": {"256": -100, "257": -100}, "max_tokens": 1900}
    for _ in range(3):
        stream = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True, n=8, **forever)
        next(stream)
        stream.close()
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=3)
    assert completion.choices


def test_requests_that_wait_for_an_engine_hold_back_nobody_else(tmp_path: Path, tiny_base: Path) -> None:
    """More requests than the server has threads."""
    engine, may_start, starting = ScriptedEngine(tiny_base), threading.Event(), threading.Event()
    engine.say("ok")

    def start(*_: Any) -> ScriptedEngine:
        starting.set()
        assert may_start.wait(600)
        return engine

    with bare_server(tmp_path / "data", tiny_base) as running:
        running.app.state.luthier.loader.engines = EnginePool(EngineOptions(), start)
        client, answers = running.client(), list[Any]()

        def call() -> None:
            answers.append(complete(client, max_completion_tokens=8))

        callers = [threading.Thread(target=call) for _ in range(60)]
        for caller in callers:
            caller.start()
        assert starting.wait(600)
        time.sleep(1)  # for the others to come in
        assert client.with_options(timeout=300).models.list().data
        may_start.set()
        for caller in callers:
            caller.join()
    assert len(answers) == 60
