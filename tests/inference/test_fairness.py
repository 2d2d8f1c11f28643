"""Fairness between keys: many requests of one key hold back no other's and fill only their own queue."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import ENGINES, OPTIONS, sampling

from luthier.inference import Engine, EngineRequest
from luthier.inference.pool import build_engine
from luthier.inference.scheduling.fairness import fairness_key, round_robin
from luthier.types.errors import RateLimitError

MANY = 40  # more than run at once


@pytest.fixture(params=[*sorted(set(ENGINES) - {"vllm"}), "echo"])
def engine(request: pytest.FixtureRequest, tiny_base: Path):
    options = replace(OPTIONS, max_requests_per_key=MANY)
    start = ENGINES.get(request.param)
    engine = start(tiny_base, options) if start else build_engine(tiny_base, replace(options, engine=request.param))
    yield engine
    engine.close()


def submit(engine: Engine, key: str, tokens: int):
    reset = fairness_key.set(key)
    try:
        return engine.submit(EngineRequest([5, 6, 7], sampling(max_tokens=tokens)))
    finally:
        fairness_key.reset(reset)


def test_round_robin_takes_one_of_each_key_first() -> None:
    works = [SimpleNamespace(key=name[0], name=name) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
    assert [work.name for work in round_robin(works)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_many_requests_of_one_key_do_not_hold_back_another(engine: Engine) -> None:
    many = [submit(engine, "greedy", 1500) for _ in range(MANY)]
    next(iter(many[0]))
    with pytest.raises(RateLimitError) as refused:
        submit(engine, "greedy", 1)
    assert refused.value.code == "rate_limit_exceeded"
    assert len(list(submit(engine, "modest", 20))) == 20
    assert not any(stream.finish_reason for stream in many)
    for stream in many:
        stream.cancel()
        list(stream)
    assert len(list(submit(engine, "greedy", 2))) == 2


def test_generations_of_one_key_run_side_by_side(engine: Engine) -> None:
    """A long generation holds back no short one, nor do short ones starve it."""
    long = submit(engine, "one", 300)
    while long.finish_reason is None:
        assert len(list(submit(engine, "one", 3))) == 3
    assert long.finish_reason == "length"
