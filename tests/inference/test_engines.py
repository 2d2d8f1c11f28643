"""One contract for every engine: right tokens, whatever else runs beside them. Engines to come join `ENGINES`."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from vllm_stand_in import running

from luthier.data.rendering.renderer import Renderer
from luthier.hardware import select_hardware
from luthier.inference import Engine, EnginePool, EngineRequest, SamplingParams, Token, low_priority
from luthier.inference.engines.native.library import unavailable
from luthier.inference.options import EngineOptions, VllmOptions
from luthier.inference.registry import build_engine
from luthier.inference.scheduling.sampler import sample_token
from luthier.types.errors import BaseModelError, RateLimitError, UnavailableError


def _named(name: str) -> Callable[[Path, EngineOptions], Engine]:
    return lambda base, options: build_engine(base, replace(options, engine=name))


def _vllm(base: Path, options: EngineOptions) -> Engine:
    """Against a stand-in, which has another engine behind it."""
    from luthier.inference.engines.vllm.engine import VllmEngine

    stack = ExitStack()
    behind = _named("batched")(base, replace(options, max_requests_per_key=1000))
    served = stack.enter_context(running(base, behind))
    engine = VllmEngine(base, replace(options, vllm=VllmOptions(url=served.url)))
    close = engine.close
    engine.close = lambda: (close(), stack.close())  # type: ignore[method-assign]
    return engine


ENGINES: dict[str, Callable[[Path, EngineOptions], Engine]] = {
    "transformers": _named("transformers"),
    "batched": _named("batched"),
    "vllm": _vllm,
    **({} if unavailable(torch.float32) else {"native": _named("native")}),
    **({"openvino": _named("openvino")} if find_spec("openvino") else {}),
}
OPTIONS = EngineOptions(device="cpu", precision="float32", max_loras=2, max_requests_per_key=8)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tiny_base: Path) -> Iterator[Engine]:
    made = ENGINES[request.param](tiny_base, OPTIONS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def prompt(tiny_base: Path) -> list[int]:
    return Renderer(tiny_base).prompt([{"role": "user", "content": "Tell me something."}])


def sampling(**given) -> SamplingParams:
    return SamplingParams(**{"max_tokens": 24, "stop_ids": frozenset(), "temperature": 0.0, **given})


def ids(engine: Engine, prompt: list[int], adapter: Path | None = None, **given) -> list[int]:
    return [token.id for token in engine.submit(EngineRequest(prompt, sampling(**given), adapter))]


def reference(base: Path, prompt: list[int], adapter: Path | None) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
    made = model.eval().generate(
        input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    return made[0, len(prompt) :].tolist()


def test_greedy_answers_are_those_of_transformers(
    engine: Engine, tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    """Base, adapters and base again: no adapter leaves a trace, and none is silently ignored."""
    wanted = {adapter: reference(tiny_base, prompt, adapter) for adapter in (None, *adapters)}
    assert len({tuple(answer) for answer in wanted.values()}) == 5
    for adapter in (None, adapters[0], None, *adapters, adapters[0], None):
        assert ids(engine, prompt, adapter) == wanted[adapter]


@pytest.mark.parametrize("start", [ENGINES[name] for name in ENGINES if name != "vllm"])
def test_the_first_adapter_may_be_on_some_layers_only(
    start: Callable[[Path, EngineOptions], Engine], tiny_base: Path, adapters: list[Path], prompt: list[int]
) -> None:
    engine = start(tiny_base, OPTIONS)
    answers = [ids(engine, prompt, adapter) for adapter in (adapters[1], None)]
    engine.close()
    assert answers == [reference(tiny_base, prompt, adapter) for adapter in (adapters[1], None)]


def test_answers_under_way_together_are_as_alone(engine: Engine, adapters: list[Path], prompt: list[int]) -> None:
    alone = [ids(engine, prompt[place:], adapter) for place, adapter in enumerate([None, *adapters[:2], None])]
    streams = [
        engine.submit(EngineRequest(prompt[place:], sampling(), adapter))
        for place, adapter in enumerate([None, *adapters[:2], None])
    ]
    assert [[token.id for token in stream] for stream in streams] == alone


def test_a_text_that_was_read_before_changes_nothing(engine: Engine, adapters: list[Path], prompt: list[int]) -> None:
    """Longer than one piece; asked again, gone on with, and begun alike by another."""
    long = [*prompt[:-1], *(65 + index % 26 for index in range(700)), prompt[-1]]
    first = ids(engine, long, adapters[0])
    assert ids(engine, long, adapters[0]) == first
    longer = [*long, *first, *prompt]
    cold = [*reversed(prompt), *longer[len(prompt) :]]
    other = ids(engine, cold, adapters[0])
    assert ids(engine, longer, adapters[0]) == ids(engine, longer, adapters[0])
    assert ids(engine, cold, adapters[0]) == other
    assert ids(engine, long) != first  # the base has not read it as the adapter did
    streams = [engine.submit(EngineRequest(long, sampling(), adapters[0])) for _ in range(3)]
    assert [[token.id for token in stream] for stream in streams] == [first] * 3


def test_more_answers_than_go_together(engine: Engine, adapters: list[Path], prompt: list[int]) -> None:
    """Rows of answers that end are taken over by others, of any length and adapter."""
    given = [(prompt[: len(prompt) - index], (None, *adapters)[index % 5], 3 + 4 * (index % 4)) for index in range(8)]
    alone = [ids(engine, text, adapter, max_tokens=most) for text, adapter, most in given]
    for _ in range(3):
        streams = [
            engine.submit(EngineRequest(text, sampling(max_tokens=most), adapter)) for text, adapter, most in given
        ]
        assert [[token.id for token in stream] for stream in streams] == alone


def test_a_long_answer_does_not_hold_back_a_short_one(engine: Engine, prompt: list[int]) -> None:
    long = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)))
    assert len(ids(engine, prompt, max_tokens=3)) == 3
    assert long.finish_reason is None
    long.cancel()
    assert len(list(long)) < 1500
    assert long.finish_reason == "cancelled"


def test_reasons(engine: Engine, prompt: list[int]) -> None:
    first = ids(engine, prompt)
    stream = engine.submit(EngineRequest(prompt, sampling(stop_ids=frozenset({first[4]}))))
    assert [token.id for token in stream] == first[: first.index(first[4])]
    assert stream.finish_reason == "stop"
    stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=2)))
    assert len(list(stream)) == 2
    assert stream.finish_reason == "length"


def test_a_callback_receives_what_an_iteration_yields(engine: Engine, prompt: list[int], tmp_path: Path) -> None:
    """Tokens, then exactly one end: None, or the error; the reason is set and the place in the queue free by then."""

    def events(adapter: Path | None) -> list[Any]:
        received: list[Any] = []
        ended = threading.Event()

        def on_token(event: Any) -> None:
            received.append(event)
            if not isinstance(event, Token):
                ended.set()

        streams.append(engine.submit(EngineRequest(prompt, sampling(), adapter), on_token))
        assert ended.wait(30)
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
    end = time.monotonic() + 30
    while stream.finish_reason is None and time.monotonic() < end:
        time.sleep(0.01)
    assert stream.finish_reason == "cancelled"


def test_a_seed_repeats_and_another_differs(engine: Engine, prompt: list[int]) -> None:
    one, two, other = (ids(engine, prompt, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert one == two != other
    assert ids(engine, prompt, temperature=1.0) != ids(engine, prompt, temperature=1.0)


def test_logprobs_are_the_models_own(engine: Engine, tiny_base: Path, prompt: list[int]) -> None:
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


def test_work_in_the_background_waits_for_the_rest_but_does_not_starve(engine: Engine, prompt: list[int]) -> None:
    reset = low_priority.set(True)
    slow = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)))
    low_priority.reset(reset)
    arrived: list[float] = []
    listener = threading.Thread(target=lambda: arrived.extend(time.monotonic() for _ in slow))
    listener.start()
    assert len(ids(engine, prompt, max_tokens=200)) == 200
    assert 0 < len(arrived) < 1000  # an eighth of 200 rounds, and what it had before the other came
    slow.cancel()
    listener.join()


def test_passes_use_the_adapter(engine: Engine, tiny_base: Path, adapters: list[Path], prompt: list[int]) -> None:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), str(adapters[1])).eval()
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    for adapter, same in ((None, False), (adapters[1], True), (adapters[2], False)):
        last = engine.score(prompt, adapter, 0).result(30)[-1]
        assert (last.logprob == pytest.approx(float(expected[-2, prompt[-1]]), abs=1e-3)) is same
    if type(engine).__name__ == "VllmEngine":
        return  # it makes no embeddings, and says so
    embeddings = [engine.embed([prompt], adapter).result(30)[0] for adapter in (None, *adapters, None)]
    assert len({tuple(embedding) for embedding in embeddings}) == 5


def test_scores_from_a_place_on_are_those_of_the_whole_text(
    engine: Engine, adapters: list[Path], prompt: list[int]
) -> None:
    """Whatever was read before: texts that begin alike, by the base and by an adapter."""
    shared = [*prompt, *(65 + index % 26 for index in range(600))]
    for text in (shared + prompt, shared + prompt[5:]):
        for adapter in (None, adapters[0]):
            whole = engine.score(text, adapter, 2).result(30)
            assert [token.id for token in whole] == text[1:]
            for start in (len(shared), 300, len(text) - 1, len(text) + 5):
                made = engine.score(text, adapter, 2, start=start).result(30)
                assert [token.id for token in made] == text[start:]
                wanted = whole[start - 1 :]
                assert [one.logprob for one in made] == pytest.approx([one.logprob for one in wanted], abs=1e-3)
                assert [[id for id, _ in one.top] for one in made] == [[id for id, _ in one.top] for one in wanted]


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


def test_an_adapter_that_cannot_be_loaded_fails_its_answer_only(
    engine: Engine, tmp_path: Path, prompt: list[int]
) -> None:
    before = ids(engine, prompt)
    with pytest.raises(Exception, match="adapter_config"):
        ids(engine, prompt, tmp_path / "no such adapter")
    assert ids(engine, prompt) == before


def test_an_adapter_for_another_base_leaves_the_others_as_they_were(
    engine: Engine, adapters: list[Path], prompt: list[int], tmp_path: Path
) -> None:
    """Also where it would have taken the place of one that is not in use."""
    before = [ids(engine, prompt, adapter) for adapter in adapters[:2]]
    other = shutil.copytree(adapters[2], tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    save_file({name: torch.cat([w, w], -1) for name, w in weights.items()}, other / "adapter_model.safetensors")
    with pytest.raises(Exception, match="size"):
        ids(engine, prompt, other)
    assert ids(engine, prompt, adapters[2]) not in before
    assert [ids(engine, prompt, adapter) for adapter in adapters[:2]] == before


def test_closing_ends_answers_under_way(tiny_base: Path, prompt: list[int]) -> None:
    for start in ENGINES.values():
        engine = start(tiny_base, OPTIONS)
        stream = engine.submit(EngineRequest(prompt, sampling(max_tokens=1500)))
        next(iter(stream))
        engine.close()
        list(stream)
        assert stream.finish_reason == "cancelled"
        with pytest.raises(UnavailableError):
            engine.submit(EngineRequest(prompt, sampling()))


def test_the_engine_of_a_base_that_was_removed_goes_when_another_starts(tmp_path: Path) -> None:
    closed = []
    bases = [tmp_path / name for name in ("one", "two")]
    for base in bases:
        base.mkdir()

    def start(base: Path, _: EngineOptions):
        return SimpleNamespace(idle=True, close=lambda: closed.append(base))

    pool = EnginePool(OPTIONS, start)
    pool.engine(bases[0])
    bases[0].rmdir()
    pool.engine(bases[1])
    assert closed == bases[:1]
    pool.close()


def test_a_pool_starts_an_engine_once(tiny_base: Path) -> None:
    started = []

    class Slow:
        context_tokens = 1

        def close(self) -> None:
            started.append("closed")

    def start(base: Path, _: EngineOptions):
        started.append(base)
        time.sleep(0.1)
        return Slow()

    pool = EnginePool(OPTIONS, start)
    threads = [threading.Thread(target=pool.engine, args=(tiny_base,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert started == [tiny_base, "closed"]
    with pytest.raises(RuntimeError, match="closed"):
        pool.engine(tiny_base)


def test_a_base_that_is_loaded_is_there_while_another_starts(tmp_path: Path) -> None:
    going, may_go_on = threading.Event(), threading.Event()
    for name in ("first", "slow"):
        (tmp_path / name).mkdir()

    def start(base: Path, _: EngineOptions):
        if base.name == "slow":
            going.set()
            assert may_go_on.wait(30)
        return SimpleNamespace(idle=True, close=lambda: None)

    pool = EnginePool(OPTIONS, start)
    first = pool.engine(tmp_path / "first")
    thread = threading.Thread(target=pool.engine, args=(tmp_path / "slow",))
    thread.start()
    assert going.wait(30)
    assert pool.engine(tmp_path / "first") is first
    may_go_on.set()
    thread.join()
    pool.close()


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "vllm"])
def test_another_model_may_be_loaded_meanwhile(tiny_base: Path, prompt: list[int], name: str) -> None:
    """transformers sets PyTorch's default format for all threads while it loads one."""
    given = EngineRequest(prompt * 3, sampling(max_tokens=20))
    found = []
    for default in (torch.float32, torch.bfloat16):
        engine = ENGINES[name](tiny_base, OPTIONS)
        torch.set_default_dtype(default)
        try:
            told = [token.logprob for token in engine.submit(given)]
            scored = [token.logprob for token in engine.score(prompt, None, 1).result(30)]
            found.append((told, scored, *engine.embed([prompt], None).result(30)))
        finally:
            torch.set_default_dtype(torch.float32)
            engine.close()
    assert found[0] == found[1]


def test_an_answer_that_cannot_be_kept_ends_and_the_next_comes(
    tiny_base: Path, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = ENGINES["batched"](tiny_base, OPTIONS)
    wanted = [token.id for token in engine.submit(EngineRequest(prompt, sampling()))]

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine.scheduler.kv_cache, "prefix_bytes", full)
        for _ in range(OPTIONS.max_requests_per_key + 1):  # places in the queue are given back
            with pytest.raises(MemoryError, match="no memory"):
                list(engine.submit(EngineRequest(prompt, sampling())))
        patch.setattr(engine.scheduler.kv_cache, "allocate", full)
        with pytest.raises(MemoryError, match="no memory"):
            list(engine.submit(EngineRequest(prompt, sampling())))
    assert [token.id for token in engine.submit(EngineRequest(prompt, sampling()))] == wanted
    engine.close()


@pytest.mark.parametrize("start", [ENGINES[name] for name in ("batched", "native", "openvino") if name in ENGINES])
def test_an_engine_says_what_it_has_read_before(
    start: Callable[[Path, EngineOptions], Engine], tiny_base: Path, prompt: list[int]
) -> None:
    engine = start(tiny_base, OPTIONS)
    streams = []
    for text in (prompt, prompt, [*prompt, 65], prompt[20:]):
        streams.append(engine.submit(EngineRequest(text, sampling(max_tokens=2))))
        list(streams[-1])
    assert [stream.cached_tokens for stream in streams] == [0, len(prompt) - 2, len(prompt) - 1, 0]
    together = [EngineRequest([*range(100), *range(100), last, 7], sampling(max_tokens=2)) for last in (1, 2, 3)]
    streams = [engine.submit(generation) for generation in together]
    assert all(len(list(stream)) == 2 for stream in streams)
    assert [stream.cached_tokens for stream in streams] == [0, 200, 200]
    engine.score([*range(50, 150), 1, 2, 3], None, 1, start=101).result(30)
    stream = engine.submit(EngineRequest([*range(50, 150), 5, 6], sampling(max_tokens=1)))
    list(stream)
    assert stream.cached_tokens == 100  # what stood before the tokens that were scored
    engine.close()


@pytest.mark.skipif(select_hardware("cpu", "auto")[1] != "bfloat16", reason="float32 here")
@pytest.mark.parametrize("name", sorted({"native", "openvino"} & set(ENGINES)))
def test_an_answer_has_the_same_bits_alone_in_a_batch_and_with_a_known_beginning(
    tiny_base: Path, adapters: list[Path], prompt: list[int], name: str
) -> None:
    """In bfloat16, where another order of sums is soon seen, and on several threads, which would share the work."""
    threads = torch.get_num_threads()
    if name == "native" and unavailable(torch.bfloat16):
        pytest.skip(f"{unavailable(torch.bfloat16)}")
    torch.set_num_threads(2)
    engine = ENGINES[name](tiny_base, replace(OPTIONS, precision="bfloat16", max_loras=4))
    torch.set_num_threads(threads)
    given = [EngineRequest(prompt[at:] * 3, sampling(max_tokens=100), (None, *adapters)[at % 5]) for at in range(8)]
    alone = [list(engine.submit(generation)) for generation in given]
    for _ in range(2):
        streams = [engine.submit(generation) for generation in given]
        assert [list(stream) for stream in streams] == alone
        assert all(stream.cached_tokens for stream in streams)
    engine.close()


def test_a_base_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        EnginePool(OPTIONS).engine(tmp_path)


@pytest.mark.parametrize(
    ("given", "counts", "wanted"),
    [
        ({}, {}, 2),
        ({"logit_bias": {0: 10.0}}, {}, 0),
        ({"logit_bias": {2: -100.0}}, {}, 1),
        ({"presence_penalty": 2.0}, {2: 1}, 1),
        ({"frequency_penalty": 0.5}, {2: 1}, 2),
        ({"frequency_penalty": 0.5}, {2: 4}, 1),
    ],
)
def test_bias_and_penalties(given: dict, counts: dict, wanted: int) -> None:
    logits = np.array([0.0, 2.0, 3.0, -1.0], np.float32)
    assert sample_token(logits, sampling(**given), counts, np.random.default_rng()).id == wanted


def test_top_p_keeps_the_nucleus() -> None:
    """Shares 0.64, 0.24, 0.09, 0.03: two tokens hold 0.7, and the first alone holds 0.5."""
    logits = np.array([3.0, 2.0, 1.0, 0.0], np.float32)
    random = np.random.default_rng(0)
    for top_p, allowed in [(0.5, {0}), (0.7, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3}), (0.0, {0})]:
        drawn = {sample_token(logits, sampling(temperature=1.0, top_p=top_p), {}, random).id for _ in range(400)}
        assert drawn == allowed
