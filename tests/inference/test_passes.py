"""Embeddings and scores of texts that are there already, against transformers itself."""

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
    made = build_engine(tiny_base, OPTIONS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(tiny_base: Path):
    return AutoModelForCausalLM.from_pretrained(tiny_base).eval()


def test_embeddings_are_the_mean_of_the_last_hidden_states(engine: Engine, reference) -> None:
    """In the order of the prompts, whatever shares a pass with them, and of length 1."""
    made = torch.tensor(engine.embed(PROMPTS, None).result(30))
    for prompt, found in zip(PROMPTS, made, strict=True):
        with torch.inference_mode():
            hidden = reference(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
        wanted = hidden.mean(0) / hidden.mean(0).norm()
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(len(PROMPTS)))


def test_scores_are_what_the_model_says_of_each_token(engine: Engine, reference) -> None:
    """Of a prompt that takes several passes; likeliest tokens first."""
    prompt = torch.randint(0, 256, (600,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        wanted = reference(input_ids=torch.tensor([prompt])).logits[0].log_softmax(-1)
    made = engine.score(prompt, None, 2).result(30)
    assert [token.id for token in made] == prompt[1:]
    for at in (0, 254, 255, 256, 598):
        assert made[at].logprob == pytest.approx(float(wanted[at, prompt[at + 1]]), abs=1e-3)
        values, ids = wanted[at].topk(2)
        assert [token for token, _ in made[at].top] == ids.tolist()
        assert [value for _, value in made[at].top] == pytest.approx(values.tolist(), abs=1e-3)
    assert engine.score([3], None, 0).result(30) == []
    assert engine.score([3, 4], None, 0).result(30)[0].top == ()


def test_passes_and_answers_share_the_engine(engine: Engine) -> None:
    """Places are counted together and given back; what nobody waits for is dropped."""
    forever = SamplingParams(1500, frozenset(), temperature=0)
    streams = [engine.submit(EngineRequest([1, 2], forever)) for _ in range(OPTIONS.max_requests_per_key - 1)]
    passed = engine.embed([[1, 2, 3]] * 4000, None)
    with pytest.raises(RateLimitError):
        engine.embed([[1]], None)
    passed.cancel()
    streams[0].cancel()
    list(streams[0])
    assert len(engine.embed([[1]], None).result(30)) == 1
    assert streams[1].finish_reason is None
    streams[1].cancel()


def test_a_pass_that_fails_is_nobody_elses_trouble(engine: Engine) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        engine.embed([[10**6]], None).result(30)
    assert engine.embed([[1]], None).result(30)


def test_passes_end_with_the_engine(tiny_base: Path) -> None:
    engine = build_engine(tiny_base, OPTIONS)
    waiting = engine.embed([list(range(250)) * 8] * 200, None)
    engine.close()
    with pytest.raises(UnavailableError):
        waiting.result(5)
