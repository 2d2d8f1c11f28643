"""The contract of every engine: right tokens, whatever runs beside them. New engines join `ENGINES`."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import ENGINES, OPTIONS, ids, reference, sampling
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from luthier.devices import select_device
from luthier.inference import Engine, EngineRequest, Token, low_priority
from luthier.inference.options import EngineOptions
from luthier.types.errors import RateLimitError, UnavailableError


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tiny_base: Path) -> Iterator[Engine]:
    engine = ENGINES[request.param](tiny_base, OPTIONS)
    yield engine
    engine.close()


def test_greedy_tokens_are_those_of_transformers(
    engine: Engine, tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    """Base, adapters and base again: no adapter leaves a trace, and none is silently ignored."""
    expected = {adapter: reference(tiny_base, prompt, adapter) for adapter in (None, *adapters)}
    assert len({tuple(answer) for answer in expected.values()}) == 5
    for adapter in (None, adapters[0], None, *adapters, adapters[0], None):
        assert ids(engine, prompt, adapter) == expected[adapter]


@pytest.mark.parametrize("start", [ENGINES[name] for name in ENGINES if name != "vllm"])
def test_the_first_adapter_may_be_on_some_layers_only(
    start: Callable[[Path, EngineOptions], Engine], tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    engine = start(tiny_base, OPTIONS)
    answers = [ids(engine, prompt, adapter) for adapter in (adapters[1], None)]
    engine.close()
    assert answers == [reference(tiny_base, prompt, adapter) for adapter in (adapters[1], None)]


def test_a_batch_generates_what_each_request_does_alone(
    engine: Engine, adapters: list[Path], prompt: list[int]
) -> None:
    alone = [ids(engine, prompt[start:], adapter) for start, adapter in enumerate([None, *adapters[:2], None])]
    streams = [
        engine.submit(EngineRequest(prompt[start:], sampling(), adapter))
        for start, adapter in enumerate([None, *adapters[:2], None])
    ]
    assert [[token.id for token in stream] for stream in streams] == alone


def test_prefix_caching_changes_no_token(engine: Engine, adapters: list[Path], prompt: list[int]) -> None:
    """A prompt of several chunks: repeated, continued, and with a prefix that another shares."""
    long = [*prompt[:-1], *(65 + index % 26 for index in range(700)), prompt[-1]]
    first = ids(engine, long, adapters[0])
    assert ids(engine, long, adapters[0]) == first
    longer = [*long, *first, *prompt]
    cold = [*reversed(prompt), *longer[len(prompt) :]]
    other = ids(engine, cold, adapters[0])
    assert ids(engine, longer, adapters[0]) == ids(engine, longer, adapters[0])
    assert ids(engine, cold, adapters[0]) == other
    assert ids(engine, long) != first  # prefixes are cached per adapter
    streams = [engine.submit(EngineRequest(long, sampling(), adapters[0])) for _ in range(3)]
    assert [[token.id for token in stream] for stream in streams] == [first] * 3


def test_requests_of_different_lengths_and_adapters_join_and_leave_a_batch(
    engine: Engine, adapters: list[Path], prompt: list[int]
) -> None:
    """Cache rows and slots of finished requests are reused."""
    requests = [
        (prompt[: len(prompt) - index], (None, *adapters)[index % 5], 3 + 4 * (index % 4)) for index in range(8)
    ]
    alone = [ids(engine, tokens, adapter, max_tokens=max_tokens) for tokens, adapter, max_tokens in requests]
    for _ in range(3):
        streams = [
            engine.submit(EngineRequest(tokens, sampling(max_tokens=max_tokens), adapter))
            for tokens, adapter, max_tokens in requests
        ]
        assert [[token.id for token in stream] for stream in streams] == alone


def test_a_long_generation_holds_back_no_short_one(engine: Engine, prompt: list[int]) -> None:
    long = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)))
    assert len(ids(engine, prompt, max_tokens=3)) == 3
    assert long.finish_reason is None
    long.cancel()
    assert len(list(long)) < 1500
    assert long.finish_reason == "cancelled"


def test_finish_reasons(engine: Engine, prompt: list[int]) -> None:
    first = ids(engine, prompt)
    stream = engine.submit(EngineRequest(prompt, sampling(stop_ids=frozenset({first[4]}))))
    assert [token.id for token in stream] == first[: first.index(first[4])]
    assert stream.finish_reason == "stop"
    stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=2)))
    assert len(list(stream)) == 2
    assert stream.finish_reason == "length"


def test_a_callback_receives_what_an_iteration_yields(engine: Engine, prompt: list[int], tmp_path: Path) -> None:
    """Tokens, then exactly one end: None, or the error; the reason is set and the start in the queue free by then."""

    def events(adapter: Path | None) -> list[Any]:
        received: list[Any] = []
        ended = threading.Event()

        def on_token(event: Any) -> None:
            received.append(event)
            if not isinstance(event, Token):
                ended.set()

        streams.append(engine.submit(EngineRequest(prompt, sampling(), adapter), on_token))
        assert ended.wait(300)
        return received

    streams: list[Any] = []
    expected = ids(engine, prompt)
    *tokens, end = events(None)
    assert ([token.id for token in tokens], end) == (expected, None)
    assert streams[0].finish_reason == "length"
    (error,) = events(tmp_path / "no such adapter")
    assert "adapter_config" in str(error)
    assert streams[1].finish_reason == "cancelled"


def test_a_callback_that_raises_cancels_its_generation_only(engine: Engine, prompt: list[int]) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("event loop is closed")

    expected = ids(engine, prompt)
    stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)), broken)
    assert ids(engine, prompt) == expected
    end = time.monotonic() + 300
    while stream.finish_reason is None and time.monotonic() < end:
        time.sleep(0.01)
    assert stream.finish_reason == "cancelled"


def test_a_seed_repeats_and_another_differs(engine: Engine, prompt: list[int]) -> None:
    first, second, other = (ids(engine, prompt, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == second != other
    assert ids(engine, prompt, temperature=1.0) != ids(engine, prompt, temperature=1.0)


def test_logprobs_are_those_of_the_model_at_temperature_1(engine: Engine, tiny_base: Path, prompt: list[int]) -> None:
    """At temperature 1, whatever the temperature and the bias of the request."""
    (token,) = engine.submit(EngineRequest(prompt, sampling(max_tokens=1, top_logprobs=5, logit_bias={65: 100})))
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    assert token.id == 65
    assert token.logprob == pytest.approx(float(expected[65]), abs=1e-4)
    values, top = expected.topk(5)
    assert [other for other, _ in token.top] == top.tolist()
    assert [value for _, value in token.top] == pytest.approx(values.tolist(), abs=1e-4)


def test_low_priority_waits_but_does_not_starve(engine: Engine, prompt: list[int]) -> None:
    arrived, ends = list[str](), {"slow": threading.Event(), "quick": threading.Event()}

    def on_token(name: str, event: Any) -> None:
        arrived.append(name)
        if not isinstance(event, Token):
            ends[name].set()

    reset = low_priority.set(True)
    slow = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)), partial(on_token, "slow"))
    low_priority.reset(reset)
    engine.submit(EngineRequest(prompt, sampling(max_tokens=200)), partial(on_token, "quick"))
    assert ends["quick"].wait(300)
    slow.cancel()
    assert ends["slow"].wait(300)
    first, last = arrived.index("quick"), len(arrived) - arrived[::-1].index("quick")
    during = arrived[first:last]  # until this thread went on, the slow one had the engine to itself
    assert during.count("quick") == 201  # and the end
    assert "slow" in during
    if type(engine).__name__ != "VllmEngine":  # it has no priorities
        assert during.count("slow") < 100  # about an eighth of 200 steps


def test_scores_and_embeddings_use_the_adapter(
    engine: Engine, tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), str(adapters[1])).eval()
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    for adapter, same in ((None, False), (adapters[1], True), (adapters[2], False)):
        last_position = engine.score(prompt, adapter, 0).result(300)[-1]
        assert (last_position.logprob == pytest.approx(float(expected[-2, prompt[-1]]), abs=1e-3)) is same
    if type(engine).__name__ == "VllmEngine":
        return  # it has no embeddings
    embeddings = [engine.embed([prompt], adapter).result(300)[0] for adapter in (None, *adapters, None)]
    assert len({tuple(embedding) for embedding in embeddings}) == 5


def test_scores_from_a_start_are_those_of_the_whole_prompt(
    engine: Engine, adapters: list[Path], prompt: list[int]
) -> None:
    """Whatever prefixes are cached, of the base and of an adapter."""
    shared = [*prompt, *(65 + index % 26 for index in range(600))]
    for text in (shared + prompt, shared + prompt[5:]):
        for adapter in (None, adapters[0]):
            whole = engine.score(text, adapter, 2).result(300)
            assert [token.id for token in whole] == text[1:]
            for start in (len(shared), 300, len(text) - 1, len(text) + 5):
                scored = engine.score(text, adapter, 2, start=start).result(300)
                assert [token.id for token in scored] == text[start:]
                expected = whole[start - 1 :]
                assert [token.logprob for token in scored] == pytest.approx(
                    [token.logprob for token in expected], abs=1e-3
                )
                assert [[id for id, _ in token.top] for token in scored] == [
                    [id for id, _ in token.top] for token in expected
                ]


def test_the_queue_is_bounded(engine: Engine, prompt: list[int]) -> None:
    streams = [
        engine.submit(EngineRequest(prompt, sampling(max_tokens=1500))) for _ in range(OPTIONS.max_requests_per_key)
    ]
    with pytest.raises(RateLimitError):
        engine.submit(EngineRequest(prompt, sampling()))
    for stream in streams:
        stream.cancel()
        list(stream)
    assert len(ids(engine, prompt, max_tokens=2)) == 2


def test_an_adapter_that_cannot_be_loaded_fails_its_request_only(
    engine: Engine, tmp_path: Path, prompt: list[int]
) -> None:
    before = ids(engine, prompt)
    with pytest.raises(Exception, match="adapter_config"):
        ids(engine, prompt, tmp_path / "no such adapter")
    assert ids(engine, prompt) == before


def test_an_adapter_for_another_base_leaves_the_others_as_they_were(
    engine: Engine, adapters: list[Path], prompt: list[int], tmp_path: Path
) -> None:
    """Also where it would have taken the slot of an idle adapter."""
    before = [ids(engine, prompt, adapter) for adapter in adapters[:2]]
    other = shutil.copytree(adapters[2], tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: torch.cat([w, w], -1) for name, w in weights.items()}, other / "adapter_model.safetensors")
    with pytest.raises(Exception, match="size"):
        ids(engine, prompt, other)
    assert ids(engine, prompt, adapters[2]) not in before
    assert [ids(engine, prompt, adapter) for adapter in adapters[:2]] == before


def test_closing_cancels_running_generations(tiny_base: Path, prompt: list[int]) -> None:
    for start in ENGINES.values():
        engine = start(tiny_base, OPTIONS)
        stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)))
        next(iter(stream))
        engine.close()
        list(stream)
        assert stream.finish_reason == "cancelled"
        with pytest.raises(UnavailableError):
            engine.submit(EngineRequest(prompt, sampling()))


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "vllm"])
def test_another_model_may_be_loading(tiny_base: Path, prompt: list[int], name: str) -> None:
    """transformers sets PyTorch's default dtype for all threads while it loads a model."""
    requests = EngineRequest(prompt * 3, sampling(max_tokens=20))
    outputs = []
    for default in (torch.float32, torch.bfloat16):
        engine = ENGINES[name](tiny_base, OPTIONS)
        torch.set_default_dtype(default)
        try:
            generated = [token.logprob for token in engine.submit(requests)]
            scored = [token.logprob for token in engine.score(prompt, None, 1).result(300)]
            outputs.append((generated, scored, *engine.embed([prompt], None).result(300)))
        finally:
            torch.set_default_dtype(torch.float32)
            engine.close()
    assert outputs[0] == outputs[1]


def test_a_sequence_that_runs_out_of_memory_fails_alone(
    tiny_base: Path, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = ENGINES["batched"](tiny_base, OPTIONS)
    expected = [token.id for token in engine.submit(EngineRequest(prompt, sampling()))]

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine.scheduler.kv_cache, "prefix_bytes", full)
        for _ in range(OPTIONS.max_requests_per_key + 1):  # places in the queue are freed
            with pytest.raises(MemoryError, match="no memory"):
                list(engine.submit(EngineRequest(prompt, sampling())))
        patch.setattr(engine.scheduler.kv_cache, "allocate", full)
        with pytest.raises(MemoryError, match="no memory"):
            list(engine.submit(EngineRequest(prompt, sampling())))
    assert [token.id for token in engine.submit(EngineRequest(prompt, sampling()))] == expected
    engine.close()


@pytest.mark.parametrize("start", [ENGINES[name] for name in ("batched", "native") if name in ENGINES])
def test_cached_tokens(start: Callable[[Path, EngineOptions], Engine], tiny_base: Path, prompt: list[int]) -> None:
    engine = start(tiny_base, OPTIONS)
    streams = []
    for text in (prompt, prompt, [*prompt, 65], prompt[20:]):
        streams.append(engine.submit(EngineRequest(text, sampling(max_tokens=2))))
        list(streams[-1])
    assert [stream.cached_tokens for stream in streams] == [0, len(prompt) - 2, len(prompt) - 1, 0]
    together = [EngineRequest([*range(100), *range(100), last, 7], sampling(max_tokens=2)) for last in (1, 2, 3)]
    streams = [engine.submit(request) for request in together]
    assert all(len(list(stream)) == 2 for stream in streams)
    assert [stream.cached_tokens for stream in streams] == [0, 200, 200]
    engine.score([*range(50, 150), 1, 2, 3], None, 1, start=101).result(300)
    stream = engine.submit(EngineRequest([*range(50, 150), 5, 6], sampling(max_tokens=1)))
    list(stream)
    assert stream.cached_tokens == 100  # the prefix of the scored tokens
    engine.close()


@pytest.mark.skipif(select_device("cpu", "auto")[1] != "bfloat16", reason="float32 here")
@pytest.mark.parametrize("name", [name for name in ENGINES if name.startswith("native")])
def test_batch_invariance(
    tiny_base: Path, adapters: list[Path], prompt: list[int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits alone, in a batch and with a cached prefix: in bfloat16, which shows another order of sums, on two
    threads, which may split the work.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    engine = ENGINES[name](tiny_base, replace(OPTIONS, precision="bfloat16", max_loras=4))
    requests = [
        EngineRequest(prompt[index:] * 3, sampling(max_tokens=100), (None, *adapters)[index % 5]) for index in range(8)
    ]
    alone = [list(engine.submit(request)) for request in requests]
    for _ in range(2):
        streams = [engine.submit(request) for request in requests]
        assert [list(stream) for stream in streams] == alone
        assert all(stream.cached_tokens for stream in streams)
    engine.close()
