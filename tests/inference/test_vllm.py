"""The vllm engine: starting a server or connecting to one, loading adapters, errors."""

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import OPTIONS, ids, sampling
from vllm_stand_in import StandIn, running

from luthier.inference import EngineRequest
from luthier.inference.engines.vllm.engine import VllmEngine
from luthier.inference.options import VllmOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import BadRequestError, BaseModelError, UnavailableError

PROGRAM = Path(__file__).with_name("vllm_stand_in.py")


@pytest.fixture
def stand_in(tiny_base: Path) -> Iterator[StandIn]:
    with running(tiny_base, build_engine(tiny_base, replace(OPTIONS, engine="transformers")), key="secret") as server:
        yield server


def connected(stand_in: StandIn, base: Path, key: str = "secret") -> VllmEngine:
    return VllmEngine(base, replace(OPTIONS, vllm=VllmOptions(url=stand_in.url + "/v1", api_key=key)))


def test_adapters_are_loaded_once_and_unloaded_in_lru_order(
    stand_in: StandIn,
    tiny_base: Path,
    adapters: list[Path],
    prompt: list[int],
) -> None:
    engine = connected(stand_in, tiny_base)
    for index in (0, 1, 0, 2, 0, 1):
        ids(engine, prompt, adapters[index], max_tokens=1)
    engine.close()
    kinds = [kind for kind, _ in stand_in.loads]
    names = [name for _, name in stand_in.loads]
    assert kinds == ["load", "load", "unload", "load", "unload", "load"]
    assert [names[2], names[4], names[5]] == [names[1], names[3], names[1]]
    again = connected(stand_in, tiny_base)  # adapters that are loaded already are used
    assert len(ids(again, prompt, adapters[0], max_tokens=1)) == 1
    assert len(stand_in.loads) == 6
    assert len(ids(again, prompt, adapters[0], max_tokens=1)) == 1
    stand_in.adapters.clear()  # as after a restart
    assert len(ids(again, prompt, adapters[0], max_tokens=1)) == 1
    again.close()


def test_cancelling_closes_the_request_to_vllm(
    stand_in: StandIn,
    tiny_base: Path,
    prompt: list[int],
) -> None:
    engine = connected(stand_in, tiny_base)
    stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=1900)))
    next(iter(stream))
    assert stand_in.open == 1
    stream.cancel()
    assert len(list(stream)) < 1900
    end = time.monotonic() + 120
    while stand_in.open and time.monotonic() < end:
        time.sleep(0.01)
    assert stand_in.open == 0
    immediate = engine.submit(EngineRequest(prompt, sampling(max_tokens=1900)))
    immediate.cancel()
    list(immediate)
    assert immediate.finish_reason == "cancelled"
    engine.close()


def test_requests_override_the_models_default_parameters(
    stand_in: StandIn,
    tiny_base: Path,
    prompt: list[int],
) -> None:
    engine = connected(stand_in, tiny_base)
    stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=2, seed=2**70, logit_bias={65: 5.0})))
    list(stream)
    engine.close()
    assert stream.cached_tokens == 7
    (body,) = stand_in.bodies
    assert body["prompt"] == prompt
    assert body["ignore_eos"] is True
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0.0, 1.0)
    assert 0 <= body["seed"] < 2**63


def test_errors_say_what_to_do(stand_in: StandIn, tiny_base: Path, tmp_path: Path, prompt: list[int]) -> None:
    with pytest.raises(BaseModelError, match="LUTHIER_VLLM_API_KEY"):
        connected(stand_in, tiny_base, "wrong")
    with pytest.raises(BaseModelError, match=r"serves .*, not other"):
        connected(stand_in, tmp_path / "other")
    with pytest.raises(BaseModelError, match=r"No vLLM answers at http://127\.0\.0\.1:1"):
        build_engine(tiny_base, replace(OPTIONS, engine="vllm", vllm=VllmOptions(url="http://127.0.0.1:1")))
    with pytest.raises(BaseModelError, match="which is not installed"):
        build_engine(tiny_base, replace(OPTIONS, engine="vllm", vllm=VllmOptions(command="no-such-vllm")))
    engine = connected(stand_in, tiny_base)
    with pytest.raises(BadRequestError, match="LUTHIER_EMBEDDING_MODEL"):
        engine.embed([prompt], None)
    stand_in.name = "restarted under another name"
    with pytest.raises(UnavailableError, match="does not exist"):
        ids(engine, prompt)
    engine.close()


def test_the_server_process_starts_and_ends_with_the_engine(tiny_base: Path) -> None:
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(PROGRAM))}"
    engine = VllmEngine(tiny_base, replace(OPTIONS, vllm=VllmOptions(command=command)))
    assert engine.context_tokens == 2048
    child = engine._server._child
    engine.close()
    assert child.returncode is not None
    with pytest.raises(BaseModelError, match=r"exit code 2(.|\n)*unrecognized arguments: --no-such"):
        VllmEngine(tiny_base, replace(OPTIONS, vllm=VllmOptions(command=command, arguments="--no-such")))
