"""The scheduler and the engine loop, with a fake model runner and without torch."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.inference import EngineOptions, EngineRequest, SamplingParams
from luthier.inference.memory.lora_slots import IgnoredLora
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.registry import serve
from luthier.inference.scheduling.fairness import LOW_PRIORITY_INTERVAL
from luthier.inference.scheduling.prefix_cache import PrefixCache
from luthier.inference.scheduling.sampler import TokenSampler
from luthier.inference.scheduling.scheduler import MAX_RUNNING, RunnerLimits, Scheduler, Step
from luthier.inference.scheduling.sequence import GenerationSequence
from luthier.inference.stream import GenerationStream
from luthier.types.errors import RateLimitError, UnavailableError

VOCABULARY, CONTEXT = 97, 4096
PREFILL = 512
BASE = Path("no-such-folder")


class TokenCache:
    """A KVCache whose keys and values are the token ids themselves."""

    def __init__(self, token_bytes: int = 1) -> None:
        self.token_bytes, self.open = token_bytes, 0

    def allocate(self, tokens: int, prefix: tuple[list[int], int] | None, *, private: bool) -> list[int]:
        self.open += 1
        return prefix[0][: prefix[1]] if prefix else []

    def free(self, handle: list[int]) -> None:
        self.open -= 1
        handle.clear()

    def prefix_bytes(self, handle: list[int], tokens: int) -> int:
        return tokens * self.token_bytes

    def save_prefix(self, handle: list[int], tokens: int) -> list[int]:
        return handle[:tokens]

    def release_prefix(self, prefix: list[int]) -> None:
        prefix.clear()

    def required_bytes(self, lengths: Sequence[int]) -> int:
        return sum(lengths) * self.token_bytes


def next_token(ids: Sequence[int]) -> int:
    """Depends on every token of the sequence and its position."""
    return sum((index + 1) * token for index, token in enumerate(ids)) % VOCABULARY


class FakeRunner(ModelRunner):
    """Logits that prefer `next_token` of what is in the cache."""

    context_tokens = CONTEXT
    max_prefills = None

    def __init__(self, token_bytes: int = 1) -> None:
        self.kv_cache = TokenCache(token_bytes)
        self.adapters = IgnoredLora(2)
        self.batches: list[list[Chunk]] = []

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        self.batches.append(list(chunks))
        rows = []
        for chunk in chunks:
            assert len(chunk.cache) == chunk.past
            chunk.cache.extend(chunk.token_ids)
            for end in range(len(chunk.cache) - chunk.outputs + 1, len(chunk.cache) + 1):
                rows.append(np.eye(VOCABULARY, dtype=np.float32)[next_token(chunk.cache[:end])])
        return np.array(rows, np.float32).reshape(-1, VOCABULARY)


def expected_tokens(prompt: Sequence[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(next_token(ids))
    return ids[len(prompt) :]


def request(prompt: Sequence[int], max_tokens: int = 4) -> EngineRequest:
    return EngineRequest(list(prompt), SamplingParams(max_tokens, frozenset(), temperature=0.0))


def sequence(prompt: Sequence[int], max_tokens: int = 4, **fields: Any) -> GenerationSequence:
    new = request(prompt, max_tokens)
    return GenerationSequence(
        request=new, stream=GenerationStream(), sampler=TokenSampler(new.sampling, BASE), **fields
    )


def scheduler(runner: FakeRunner, prefix_cache_bytes: int = 0, **limits: Any) -> Scheduler:
    limits = {"context_tokens": CONTEXT, "max_prefills": None, **limits}
    prefixes = PrefixCache[list[int]](prefix_cache_bytes, runner.kv_cache.release_prefix)
    return Scheduler(runner.kv_cache, runner.adapters, prefixes, RunnerLimits(**limits))


def run_step(subject: Scheduler, runner: FakeRunner) -> Step:
    """One step of the engine loop, with greedy sampling."""
    step = subject.schedule()
    logits = runner.run(step.chunks)
    for running, row in zip(subject.commit(step), logits, strict=True):
        running.append(int(row.argmax()))
        if running.generated == running.request.sampling.max_tokens:
            subject.remove(running)
    return step


def lengths(step: Step) -> list[int]:
    return [len(chunk.token_ids) for chunk in step.chunks]


@pytest.mark.services
def test_nothing_here_imports_torch() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_scheduler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=False).returncode == 0


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding() -> None:
    """512 prompt tokens per step at most, one decode token per running sequence, two tokens at least per chunk."""
    runner = FakeRunner()
    subject = scheduler(runner)
    short, long = sequence([1, 2, 3], 10), sequence([5] * (2 * PREFILL + 1), 2)
    subject.add(short)
    assert lengths(run_step(subject, runner)) == [3]
    subject.add(long)
    steps = [run_step(subject, runner) for _ in range(4)]
    assert [lengths(step) for step in steps] == [[1, PREFILL], [1, PREFILL - 1], [1, 2], [1, 1]]
    assert [[chunk.decode for chunk in step.chunks] for step in steps] == [[True, False]] * 3 + [[True, True]]
    assert [[chunk.outputs for chunk in step.chunks] for step in steps] == [[1, 0], [1, 0], [1, 1], [1, 1]]
    assert long not in subject.works


def test_a_step_prefills_several_prompts_within_its_budget() -> None:
    runner = FakeRunner()
    subject = scheduler(runner)
    for length in (300, 200, 400):
        subject.add(sequence([length % VOCABULARY] * length))
    assert lengths(run_step(subject, runner)) == [300, 200, 12]
    assert lengths(run_step(subject, runner)) == [1, 1, 388]


def test_a_runner_may_limit_prefills_and_forbid_chunks() -> None:
    runner = FakeRunner()
    subject = scheduler(runner, max_prefills=1)
    for _ in range(2):
        subject.add(sequence([1, 2, 3]))
    assert lengths(run_step(subject, runner)) == [3]
    subject = scheduler(runner, prefill_tokens=None)
    subject.add(sequence([1] * 3 * PREFILL))
    assert lengths(run_step(subject, runner)) == [3 * PREFILL]


def test_sequences_of_all_keys_share_a_batch_in_round_robin_order() -> None:
    runner = FakeRunner()
    subject = scheduler(runner)
    works = [sequence([index + 1] * 3, key=key) for index, key in enumerate("aaabc")]
    for work in works:
        subject.add(work)
    assert run_step(subject, runner).sequences == [works[0], works[3], works[4], works[1], works[2]]


def test_a_key_without_running_sequences_gets_double_room() -> None:
    runner = FakeRunner()
    subject = scheduler(runner)
    greedy = [sequence([1, 2, 3], 100, key="greedy") for _ in range(MAX_RUNNING + 5)]
    for work in greedy:
        subject.add(work)
    run_step(subject, runner)
    assert [work.admitted for work in greedy] == [True] * MAX_RUNNING + [False] * 5
    modest = sequence([4, 5, 6], 100, key="modest")
    subject.add(modest)
    assert len(run_step(subject, runner).chunks) == MAX_RUNNING + 1
    assert modest.decoding


def test_an_unbatched_runner_runs_one_sequence_of_each_key_per_step() -> None:
    """The least recently run first."""
    runner = FakeRunner()
    subject = scheduler(runner, batched=False)
    works = [sequence([index + 1] * 3, 50, key=key) for index, key in enumerate("aab")]
    for work in works:
        subject.add(work)
    steps = [run_step(subject, runner).sequences for _ in range(4)]
    assert [{works.index(work) for work in step} for step in steps] == [{0, 2}, {1, 2}, {0, 2}, {1, 2}]
    assert [len(forward.chunks) for forward in subject.schedule().passes(batched=False)] == [1, 1]


def test_low_priority_runs_every_eighth_step_while_others_wait() -> None:
    runner = FakeRunner()
    subject = scheduler(runner)
    slow, interactive = sequence([1, 2, 3], 1000, low_priority=True), sequence([4, 5, 6], 40)
    subject.add(slow)
    subject.add(interactive)
    ran = [slow in run_step(subject, runner).sequences for _ in range(40)]
    assert ran == [step % LOW_PRIORITY_INTERVAL == 0 for step in range(1, 41)]
    assert interactive not in subject.works
    assert slow in run_step(subject, runner).sequences, "alone, it runs every step"


def test_a_prompt_with_a_cached_prefix_computes_the_rest_only() -> None:
    runner = FakeRunner()
    subject = scheduler(runner, prefix_cache_bytes=10_000)
    prompt = [index % 50 for index in range(100)]
    first = sequence(prompt, 3)
    subject.add(first)
    for _ in range(3):
        run_step(subject, runner)
    again, other = sequence([*prompt, 7, 8], 3), sequence(prompt[1:], 3)
    subject.add(again)
    subject.add(other)
    step = run_step(subject, runner)
    assert again.stream.cached_tokens == 100
    assert other.stream.cached_tokens == 0
    assert dict(zip(step.sequences, lengths(step), strict=True)) == {again: 2, other: 99}
    assert again.pending == [next_token([*prompt, 7, 8])]


def test_a_prompt_waits_for_a_prefix_that_is_being_computed() -> None:
    runner = FakeRunner()
    subject = scheduler(runner, prefix_cache_bytes=10_000)
    prompt = [index % 50 for index in range(700)]
    works = [sequence([*prompt, last, last], 3) for last in (1, 2)]
    for work in works:
        subject.add(work)
    assert lengths(run_step(subject, runner)) == [PREFILL]
    run_step(subject, runner)
    assert [work.admitted for work in works] == [True, False]
    run_step(subject, runner)
    assert works[1].stream.cached_tokens == 700


def test_evicted_prefixes_are_released_least_recently_used_first() -> None:
    released: list[str] = []
    cache = PrefixCache[str](100, released.append)
    for name, start in (("a", 0), ("b", 100)):
        cache.store(None, range(start, start + 40), 40, lambda name=name: name)
    assert cache.find(None, range(40)) == ("a", 38)
    assert cache.find(BASE, range(40)) is None, "of another adapter"
    cache.store(None, range(200, 240), 40, lambda: "c")
    assert released == ["b"]
    cache.store(None, range(50), 50, lambda: "d")
    assert released == ["b", "a"], "covered by the longer one"


def test_sequences_wait_until_the_kv_cache_has_room() -> None:
    """Each may need 400 MB: two fit in the limit of 1 GB; one that exceeds it runs alone."""
    runner = FakeRunner(token_bytes=1 << 20)
    subject = scheduler(runner)
    works = [sequence([index + 1] * 300, 100) for index in range(3)]
    for work in works:
        subject.add(work)
    run_step(subject, runner)
    run_step(subject, runner)
    assert [work.admitted for work in works] == [True, True, False]
    subject.remove(works[0])
    run_step(subject, runner)
    assert [work.admitted for work in works] == [False, True, True]
    for work in works[1:]:
        subject.remove(work)
    huge = sequence([1] * 3000, 100)
    subject.add(huge)
    run_step(subject, runner)
    assert huge.admitted


def test_a_sequence_without_a_cache_fails_alone() -> None:
    runner = FakeRunner()
    subject = scheduler(runner)
    works = [sequence([1, 2, 3]), sequence([4, 5, 6])]
    for work in works:
        subject.add(work)
    allocate = runner.kv_cache.allocate

    def exhausted(*arguments: Any, **keywords: Any) -> list[int]:
        runner.kv_cache.allocate = allocate  # type: ignore[method-assign]
        raise MemoryError

    runner.kv_cache.allocate = exhausted  # type: ignore[method-assign]
    step = subject.schedule()
    assert [failed for failed, _ in step.failed] == works[:1]
    assert step.sequences == works[1:]
    subject.remove(works[0])
    assert subject.works == works[1:]


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def engine(runner: FakeRunner):
    loop = serve(BASE, runner, EngineOptions(max_requests_per_key=20, prefix_cache_bytes=10_000))
    yield loop
    loop.close()


def test_tokens_are_the_same_alone_and_in_a_batch(engine: Any, runner: FakeRunner) -> None:
    """Prefix caching, chunks and the company of others change nothing."""
    prompts = [[(7 * index + start) % VOCABULARY for index in range(100 * start + 2)] for start in range(12)]
    for _ in range(2):
        streams = [engine.submit(request(prompt, 20)) for prompt in prompts]
        tokens = [[token.id for token in stream] for stream in streams]
        assert tokens == [expected_tokens(prompt, 20) for prompt in prompts]
        assert [stream.finish_reason for stream in streams] == ["length"] * 12
    assert max(len(batch) for batch in runner.batches) > 1
    assert any(stream.cached_tokens for stream in streams)


def test_a_cancelled_sequence_frees_its_cache_and_its_place(engine: Any, runner: FakeRunner) -> None:
    streams = [engine.submit(request([1, 2, 3], 10**6)) for _ in range(20)]
    with pytest.raises(RateLimitError):
        engine.submit(request([1]))
    next(iter(streams[0]))
    for stream in streams:
        stream.cancel()
        list(stream)
        assert stream.finish_reason == "cancelled"
    assert [token.id for token in engine.submit(request([1, 2, 3], 5))] == expected_tokens([1, 2, 3], 5)
    assert engine.idle
    assert runner.kv_cache.open == 0


def test_a_failed_pass_ends_its_sequences_and_no_later_ones(engine: Any, runner: FakeRunner) -> None:
    run = runner.run

    def broken(*_: Any) -> np.ndarray:
        runner.run = run  # type: ignore[method-assign]
        raise MemoryError("no memory")

    runner.run = broken  # type: ignore[method-assign]
    with pytest.raises(MemoryError, match="no memory"):
        list(engine.submit(request([1, 2, 3])))
    assert [token.id for token in engine.submit(request([1, 2, 3]))] == expected_tokens([1, 2, 3], 4)
    assert runner.kv_cache.open == 0


def test_scores_run_beside_generations(engine: Any, runner: FakeRunner) -> None:
    stream = engine.submit(request([1, 2, 3], 10**6))
    prompt = [1, *expected_tokens([1], 600)]
    scored = engine.score(prompt, None, 1, start=300).result(300)
    assert [token.id for token in scored] == prompt[300:]
    assert all(token.top[0][0] == token.id for token in scored)
    assert len(engine.embed([prompt, [1], [2, 3]], None).result(300)) == 3
    assert stream.finish_reason is None
    stream.cancel()


def test_closing_ends_everything() -> None:
    engine = serve(BASE, FakeRunner(), EngineOptions())
    stream = engine.submit(request([1, 2, 3], 10**6))
    scoring = engine.score([1] * 4000, None, 1)
    engine.close()
    list(stream)
    assert stream.finish_reason == "cancelled"
    with pytest.raises(UnavailableError):
        scoring.result(300)
    with pytest.raises(UnavailableError):
        engine.submit(request([1]))
