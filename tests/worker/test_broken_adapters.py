"""The parity gate refuses adapters that are served otherwise than they were trained, and accepts rounding."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.data.rendering import parity_samples
from luthier.data.rendering.parity_report import ParityReport
from luthier.inference import Engine
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import JobError
from luthier.worker.parity import check
from training.jobs import EXAMPLES, train, write_job

PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"number {index}"}]},
        "preferred_output": [{"role": "assistant", "content": "odd" if index % 2 else "even"}],
        "non_preferred_output": [{"role": "assistant", "content": "well, who knows"}],
    }
    for index in range(16)
]
DATA = {"supervised": EXAMPLES, "dpo": PAIRS}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def engine(tiny_base: Path, precision: str) -> Iterator[Engine]:
    engine = build_engine(tiny_base, EngineOptions(device="cpu", precision=precision, engine="batched"))
    yield engine
    engine.close()


@pytest.fixture(scope="module", params=DATA)
def steps(
    request: pytest.FixtureRequest, tiny_base: Path, precision: str, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """The adapters of a job, by epoch. DPO's learning rate is a tenth: it trains longer, and less."""
    folder = tmp_path_factory.mktemp(request.param) / "job"
    numbers = {"n_epochs": 3, "learning_rate_multiplier": 3 if request.param == "supervised" else 10}
    write_job(folder, tiny_base, DATA[request.param], method=request.param, precision=precision, **numbers)
    names = [event["folder"] for event in train(folder) if event["type"] == "checkpoint"]
    return [folder / "checkpoints" / name for name in names]


def _scaled(factor: float) -> Callable[[Weights, Weights], Weights]:
    return lambda weights, _: {name: part * factor if "lora_B" in name else part for name, part in weights.items()}


def _transposed(weights: Weights, _: Weights) -> Weights:
    """A and B exchanged wherever the shapes allow it."""
    exchanged = dict(weights)
    for name, a in weights.items():
        b = weights.get(name.replace("lora_A", "lora_B"))
        if "lora_A" in name and b is not None and b.T.shape == a.shape:
            exchanged |= {name: b.T.contiguous(), name.replace("lora_A", "lora_B"): a.T.contiguous()}
    return exchanged


def _of_other_layers(weights: Weights, _: Weights) -> Weights:
    """Those of the two layers exchanged."""
    return {
        re.sub(r"layers\.([01])", lambda match: f"layers.{1 - int(match[1])}", name): weights[name] for name in weights
    }


BREAKS: dict[str, Callable[[Weights, Weights], Weights]] = {
    "left out": _scaled(0),
    "scaled by two": _scaled(2),
    "scaled by a half": _scaled(0.5),
    "transposed": _transposed,
    "of other layers": _of_other_layers,
    "of another step": lambda _, earlier: earlier,
}


def test_what_was_trained_passes(engine: Engine, steps: list[Path], precision: str) -> None:
    report = check(lambda: engine, steps[-1], precision)
    assert report.effect == pytest.approx(1, abs=0.1)
    assert report.summary().endswith(" %")


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_adapter_is_refused(
    engine: Engine, steps: list[Path], precision: str, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(steps[-1], broken)
    trained, earlier = (load_file(folder / "adapter_model.safetensors") for folder in (steps[-1], steps[0]))
    save_file(BREAKS[name](trained, earlier), broken / "adapter_model.safetensors")
    with pytest.raises(JobError, match="does not reproduce the trained model"):
        check(lambda: engine, broken, precision)


REPORT = ParityReport(0.04, 200, 16, 0, base_difference=0.04, effect=1.02, effect_error=0.01)
VERDICTS = [  # a change of the report, the dtype, and the beginning of the reason, None where it passes
    ({}, "bfloat16", None),
    ({"mean_difference": 0.11}, "bfloat16", None),  # the base's own answers are rounded as much
    ({"mean_difference": 0.13}, "bfloat16", "rounding is at most 0.12"),
    ({"mean_difference": 0.31, "base_difference": 5.0}, "bfloat16", "rounding is at most 0.3"),  # a base read wrongly
    ({"mean_difference": 0.11, "base_difference": None, "effect": None}, "bfloat16", "rounding is at most 0.1"),
    ({"mean_difference": float("nan")}, "bfloat16", "rounding is at most"),
    ({"effect": 0.6}, "bfloat16", "rounding changes at most 28 % of the effect"),
    ({"effect": 0.6, "effect_error": 0.2}, "bfloat16", None),  # the effect is too small to be measured
    ({"mean_difference": 0.016, "base_difference": 0.04}, "float32", "rounding is at most 0.015"),
    ({"mean_difference": 0.004, "effect": 0.0}, "float32", "rounding changes at most"),  # a small one that is left out
]


@pytest.mark.parametrize(("change", "precision", "reason"), VERDICTS)
def test_rounding_is_judged_by_what_the_base_shows(
    change: dict[str, float | None], precision: str, reason: str | None
) -> None:
    verdict = replace(REPORT, **change).failure(precision)  # type: ignore[arg-type]
    assert verdict is None if reason is None else verdict is not None and verdict.startswith(reason)


def test_samples_of_an_earlier_trainer_have_no_base(engine: Engine, steps: list[Path], tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(steps[-1], earlier)
    parity_samples.write(earlier, [replace(sample, base_logprobs=[]) for sample in parity_samples.read(earlier)])
    assert check(lambda: engine, earlier, "bfloat16").base_difference is None
