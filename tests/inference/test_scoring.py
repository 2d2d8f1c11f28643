"""Embeddings and scores of prompts, against transformers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.inference import Engine, EngineRequest, SamplingParams
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import RateLimitError, UnavailableError

OPTIONS = EngineOptions(device="cpu", precision="float32", max_requests_per_key=3)
PROMPTS = [[5], list(range(40, 90)), [7, 8, 9], list(range(200)) * 4, [7, 8, 9]]


@pytest.fixture
def engine(tiny_base: Path) -> Iterator[Engine]:
    engine = build_engine(tiny_base, OPTIONS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(tiny_base: Path):
    return AutoModelForCausalLM.from_pretrained(tiny_base).eval()


def test_embeddings_are_the_mean_of_the_last_hidden_states(engine: Engine, reference) -> None:
    """In the order of the prompts, whatever shares their pass, and of length 1."""
    vectors = torch.tensor(engine.embed(PROMPTS, None).result(300))
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        with torch.inference_mode():
            hidden = reference(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
        expected = hidden.mean(0) / hidden.mean(0).norm()
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(PROMPTS)))


def test_scores_are_the_log_probabilities_of_transformers(engine: Engine, reference) -> None:
    """For a prompt of several passes; likeliest tokens first."""
    prompt = torch.randint(0, 256, (600,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([prompt])).logits[0].log_softmax(-1)
    scored = engine.score(prompt, None, 2).result(300)
    assert [token.id for token in scored] == prompt[1:]
    for at in (0, 254, 255, 256, 598):
        assert scored[at].logprob == pytest.approx(float(expected[at, prompt[at + 1]]), abs=1e-3)
        values, ids = expected[at].topk(2)
        assert [token for token, _ in scored[at].top] == ids.tolist()
        assert [value for _, value in scored[at].top] == pytest.approx(values.tolist(), abs=1e-3)
    assert engine.score([3], None, 0).result(300) == []
    assert engine.score([3, 4], None, 0).result(300)[0].top == ()


def test_prompt_tasks_and_generations_share_the_queue(engine: Engine) -> None:
    """Both count towards the limit of a key; a cancelled task frees its place."""
    forever = SamplingParams(1500, frozenset(), temperature=0)
    streams = [engine.submit(EngineRequest([1, 2], forever)) for _ in range(OPTIONS.max_requests_per_key - 1)]
    task = engine.embed([[1, 2, 3]] * 4000, None)
    with pytest.raises(RateLimitError):
        engine.embed([[1]], None)
    task.cancel()
    streams[0].cancel()
    list(streams[0])
    assert len(engine.embed([[1]], None).result(300)) == 1
    assert streams[1].finish_reason is None
    streams[1].cancel()


def test_a_failed_pass_affects_no_other(engine: Engine) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        engine.embed([[10**6]], None).result(300)
    assert engine.embed([[1]], None).result(300)


def test_closing_the_engine_ends_prompt_tasks(tiny_base: Path) -> None:
    engine = build_engine(tiny_base, OPTIONS)
    waiting = engine.embed([list(range(250)) * 8] * 200, None)
    engine.close()
    with pytest.raises(UnavailableError):
        waiting.result(300)
