"""Several vLLM servers behind one engine: which takes a request, and what happens when one goes and comes back."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from engines import OPTIONS, ids
from vllm_stand_in import StandIn, _server, running

from luthier.inference.engines.vllm import replicas
from luthier.inference.engines.vllm.engine import VllmEngine
from luthier.inference.engines.vllm.routing import ReplicaLoad, choose
from luthier.inference.options import VllmOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import BaseModelError, UnavailableError

NAMES = ("http://a", "http://b", "http://c")


def _loads(*running: int, holders: tuple[int, ...] = ()) -> list[ReplicaLoad]:
    return [ReplicaLoad(NAMES[index], count, index in holders) for index, count in enumerate(running)]


def test_the_replica_that_has_the_adapter_takes_the_request() -> None:
    assert choose(_loads(3, 0, 0, holders=(0,)), "adapter") == 0
    assert choose(_loads(3, 1, 0, holders=(0, 1)), "adapter") == 1


def test_an_overloaded_replica_is_passed_over() -> None:
    assert choose(_loads(40, 1, 0, holders=(0,)), "adapter") != 0
    assert choose(_loads(40, 1, 0), None) == 2


def test_every_api_server_names_the_same_home_and_homes_are_spread() -> None:
    homes = Counter(choose(_loads(0, 0, 0), f"adapter-{number}") for number in range(300))
    assert min(homes.values()) > 60
    for number in range(50):
        loads = _loads(2, 1, 3)
        shuffled = random.Random(number).sample(loads, len(loads))
        home = loads[choose(loads, f"adapter-{number}")]
        assert shuffled[choose(shuffled, f"adapter-{number}")] == home


@pytest.fixture
def servers(tiny_base: Path) -> Iterator[list[StandIn]]:
    with ExitStack() as stack:
        options = replace(OPTIONS, engine="transformers")
        yield [stack.enter_context(running(tiny_base, build_engine(tiny_base, options))) for _ in range(2)]


@contextmanager
def _engine(base: Path, *urls: str) -> Iterator[VllmEngine]:
    engine = VllmEngine(base, replace(OPTIONS, vllm=VllmOptions(url=", ".join(urls))))
    try:
        yield engine
    finally:
        engine.close()


def test_requests_for_one_adapter_stay_together(
    servers: list[StandIn], tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    with _engine(tiny_base, *(server.url for server in servers)) as engine:
        for _ in range(3):
            for adapter in adapters[:2]:  # as many as one replica holds
                ids(engine, prompt, adapter, max_tokens=1)
    loads = [name for server in servers for kind, name in server.loads if kind == "load"]
    assert len(loads) == len(set(loads)) == 2


def test_another_replica_answers_while_one_is_gone(
    tiny_base: Path, prompt: list[int], servers: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is absent at the start, answers, and is gone again."""
    monkeypatch.setattr(replicas, "_PROBE_S", 0.05)
    absent = StandIn(str(tiny_base), servers[0].engine)
    listener = _server(absent, 0, is_up=False)
    with _engine(tiny_base, servers[0].url, f"http://127.0.0.1:{listener.server_port}") as engine:
        assert len(ids(engine, prompt, max_tokens=1)) == 1
        second = engine._pool.replicas[1]
        assert not second.is_up
        listener.server_activate()
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        _until(lambda: second.is_up)
        engine._pool.replicas[0].running += 1  # so that the next request goes to the second
        assert len(ids(engine, prompt, max_tokens=1)) == 1
        assert len(absent.bodies) == 1
        listener.shutdown()
        listener.server_close()
        assert len(ids(engine, prompt, max_tokens=1)) == 1
        _until(lambda: not second.is_up)


def test_without_a_replica_the_error_says_so(tiny_base: Path, prompt: list[int], servers: list[StandIn]) -> None:
    with pytest.raises(BaseModelError, match=r"No vLLM answers at http://127\.0\.0\.1:"):
        VllmEngine(tiny_base, replace(OPTIONS, vllm=VllmOptions(url="http://127.0.0.1:1, http://127.0.0.1:2")))
    with _engine(tiny_base, *(server.url for server in servers)) as engine:
        for replica in engine._pool.replicas:
            replica.mark_down(OSError("gone"))
        with pytest.raises(UnavailableError, match="None of 2 vLLM servers"):
            ids(engine, prompt, max_tokens=1)


def _until(condition) -> None:
    waiting = threading.Event()
    for _ in range(2400):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it did not come true within two minutes")
