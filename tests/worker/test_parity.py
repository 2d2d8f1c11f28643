"""The parity gate: what was trained passes on every engine; an adapter that is served wrongly does not."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from luthier.inference import Engine
from luthier.inference.engines.native.library import unavailable
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import JobError, RateLimitError
from luthier.worker.parity import check
from training.jobs import train, write_job


@pytest.fixture(scope="module", params=["auto", "batched", "transformers"])
def engine(request: pytest.FixtureRequest, tiny_base: Path) -> Iterator[Engine]:
    engine = build_engine(tiny_base, EngineOptions(device="cpu", precision="float32", engine=request.param))
    yield engine
    engine.close()


SHAPES = [
    {},
    {"lora_rank": 3, "lora_alpha": 12, "lora_targets": "attention"},
    {"lora_rank": 1, "lora_alpha": 1, "lora_targets": "mlp"},
    {"lora_rank": 40, "lora_alpha": 20, "lora_targets": "v_proj,gate_proj"},
]


@pytest.fixture
def adapter(request: pytest.FixtureRequest, tmp_path: Path, tiny_base: Path) -> Path:
    shape = getattr(request, "param", {})
    folder = write_job(tmp_path / "job", tiny_base, valid=3, n_epochs=4, learning_rate_multiplier=3, **shape)
    (last,) = [event["folder"] for event in train(folder) if event["type"] == "checkpoint"][-1:]
    return folder / "checkpoints" / last


@pytest.mark.parametrize("adapter", SHAPES, indirect=True, ids=lambda shape: shape.get("lora_targets", "all"))
def test_what_was_trained_is_what_is_served(engine: Engine, adapter: Path) -> None:
    report = check(lambda: engine, adapter, "float32")
    assert report.examples == 3
    assert report.mean_difference < 1e-3


@pytest.mark.skipif(bool(unavailable()), reason=f"{unavailable()}")
def test_weights_in_8_bits_are_held_to_the_limits_of_bfloat16(tiny_base: Path, adapter: Path) -> None:
    options = EngineOptions(device="cpu", precision="float32", engine="native", serving_weights="int8")
    engine = build_engine(tiny_base, options)
    report = check(lambda: engine, adapter, "float32")
    assert report.eight_bits
    assert replace(report, mean_difference=0.09).failure("float32") is None
    assert replace(report, mean_difference=0.11).failure("float32")
    weights = load_file(adapter / "adapter_model.safetensors")
    doubled = {name: 2 * tensor if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(doubled, adapter / "adapter_model.safetensors")
    with pytest.raises(JobError, match="Try --serving-weights full"):
        check(lambda: build_engine(tiny_base, options), adapter, "float32")
    engine.close()


def test_an_adapter_served_with_another_scale_is_refused(engine: Engine, adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {name: tensor * 2 if "lora_B" in name else tensor for name, tensor in weights.items()},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(JobError, match="does not reproduce the trained model") as caught:
        check(lambda: engine, adapter, "float32")
    assert caught.value.code == "parity_failed"


@pytest.mark.parametrize("fault", [MemoryError("no"), RuntimeError("CUDA out of memory."), RateLimitError("full")])
def test_what_may_pass_is_no_verdict(engine: Engine, adapter: Path, fault: Exception) -> None:
    def start() -> Engine:
        raise fault

    with pytest.raises(type(fault)):
        check(start, adapter, "float32")


def test_long_prompts_are_proved_too(
    engine: Engine, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.training.checkpointing._PARITY_TOKENS", 4)  # every prompt is longer
    monkeypatch.setattr("luthier.training.checkpointing._PARITY_ANSWER_TOKENS", 2)
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=1)
    (last,) = [event["folder"] for event in train(folder) if event["type"] == "checkpoint"]
    report = check(lambda: engine, folder / "checkpoints" / last, "float32")
    assert (report.tokens, report.examples) == (8, 4)


def test_an_adapter_that_cannot_be_served_is_refused(engine: Engine, adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "NO_SUCH"}))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(JobError, match="cannot be served"):
        check(lambda: engine, adapter, "float32")
