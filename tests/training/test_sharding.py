"""FSDP2: a base that is sharded over ranks takes the same steps as a whole one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from families import FAMILIES, make_base
from luthier.training import sharding
from luthier.training.forward_pass import ForwardPass
from luthier.training.job_spec import JobSpec
from luthier.training.model import TrainedModel
from luthier.training.ranks import Ranks
from luthier.types.errors import JobError
from training.jobs import losses, train, write_job
from training.test_ranks import stopped_at
from training.test_separate_rows import examples_of_one_prefix


def test_two_processes_with_half_a_base_each_and_then_one_with_all_of_it(tmp_path: Path, tiny_base: Path) -> None:
    """Ten examples in batches of three: the last one of an epoch leaves one rank without any."""
    overrides: dict[str, Any] = {"valid": 2, "batch_size": 3, "n_epochs": 6}
    alone = train(write_job(tmp_path / "alone", tiny_base, **overrides))
    folder = write_job(tmp_path / "job", tiny_base, processes=2, shard_base=True, **overrides)
    first = stopped_at(folder, "checkpoint")
    shards = next(event for event in first if event["type"] == "sharded_base")
    whole = 258 * 32 + 32  # embeddings, which are the output layer, and the last norm
    assert shards["local"] - whole == (shards["weights"] - whole) / 2
    replace(JobSpec.read(folder), processes=1, shard_base=False).write(folder)
    rest = train(folder)
    assert "resumed" in {event["type"] for event in rest}
    assert losses(first) + losses(rest) == pytest.approx(losses(alone), rel=1e-5)
    assert _validated([*first, *rest]) == pytest.approx(_validated(alone), rel=1e-5)


def _validated(events: list[dict[str, Any]]) -> list[float]:
    return [event["metrics"]["full_valid_loss"] for event in events if event["type"] == "checkpoint"]


@pytest.fixture(scope="module")
def alone() -> Iterator[Ranks]:
    """One rank: its part is everything, and weights are gathered and dropped as over several."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield Ranks()
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("name", "is_recomputed"),
    [("gemma2", True), ("qwen3 moe", False), ("phi", False), ("lfm2", False)],
)
def test_gradients_are_those_of_a_whole_base(
    alone: Ranks, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_recomputed: bool
) -> None:
    """With gradient checkpointing, experts, a bias in the output layer, and separate rows."""
    monkeypatch.setattr(sharding, "require_support", lambda *_: None)
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.2)
    spec = JobSpec(base=str(base), base_name="tiny", seed=5, precision="float32", device="cpu")
    gradients = []
    for is_sharded in (False, True):
        model = TrainedModel(replace(spec, shard_base=is_sharded), alone)
        assert any(isinstance(parameter, DTensor) for parameter in model.module.parameters()) == is_sharded
        if is_recomputed:
            model.enable_gradient_checkpointing()
        torch.manual_seed(7)
        for parameter in model.parameters.values():
            parameter.data.normal_(0, 0.1)
        for micro in ForwardPass(model, 64).micro_batches(examples_of_one_prefix()):
            micro.logprobs.sum().backward()
        gradients.append({key: parameter.grad for key, parameter in model.parameters.items()})
    whole, sharded = gradients
    for key, gradient in whole.items():
        assert (sharded[key] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, key


@pytest.mark.parametrize(
    ("overrides", "code", "message"),
    [
        ({"shard_base": True, "tuning": "full"}, "sharding_unsupported", "frozen base.*luthier:tuning"),
        ({"shard_base": True}, "sharding_unsupported", "this job has one. Set LUTHIER_TRAINING_PROCESSES"),
        ({}, "insufficient_memory", "The base model tiny takes .* Set LUTHIER_SHARD_BASE=true with several GPUs"),
    ],
)
def test_what_cannot_be_trained_says_why(
    tmp_path: Path,
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: dict[str, Any],
    code: str,
    message: str,
) -> None:
    monkeypatch.setattr("luthier.training.token_budget.free_bytes", lambda _: 1 << 12)
    with pytest.raises(JobError, match=message) as caught:
        train(write_job(tmp_path / "job", tiny_base, **overrides))
    assert caught.value.code == code
