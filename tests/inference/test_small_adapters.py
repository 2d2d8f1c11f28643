"""An adapter that changes little is served whole in bfloat16: its share is not lost when sums are rounded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from engines import ENGINES

from luthier.inference.options import EngineOptions
from luthier.training.batching import TrainingExample
from luthier.training.compute_device import ComputeDevice
from luthier.training.dataset import TokenSequence
from luthier.training.durable_files import new_folder
from luthier.training.forward_pass import ForwardPass
from luthier.training.job_spec import JobSpec
from luthier.training.lora import adapter
from luthier.training.model import TrainedModel

IDS = np.random.default_rng(5).integers(0, 250, 1500)
BFLOAT16 = [name for name in ENGINES if name != "vllm"]


def _logprobs(model: TrainedModel) -> torch.Tensor:
    sequence = TokenSequence(IDS, np.ones(len(IDS), np.float32))
    (micro,) = ForwardPass(model, 4096).micro_batches([TrainingExample(0, (sequence,))])
    return micro.logprobs


@pytest.fixture(scope="module")
def small_adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Its folder, and what it changes in float32 at each target: one small step towards IDS."""
    model = TrainedModel(JobSpec(base=str(tiny_base), base_name="tiny", seed=1, precision="float32", device="cpu"))
    before = _logprobs(model)
    before.sum().backward()
    for name, parameter in model.parameters.items():
        if "lora_B" in name:
            parameter.data.copy_(1.5e-4 * parameter.grad.sign())
    with torch.no_grad():
        effect = (_logprobs(model) - before).numpy()
    folder = tmp_path_factory.mktemp("small") / "adapter"
    with new_folder(folder) as new:
        adapter.write(model.module, "tiny", new)
    return folder, effect


def _share(effect: np.ndarray, measured: np.ndarray) -> float:
    """The least-squares part of `effect` that is in `measured`."""
    return float((effect * measured).sum() / (effect**2).sum())


@pytest.mark.parametrize("name", BFLOAT16)
def test_a_small_change_is_served_whole(tiny_base: Path, small_adapter: tuple[Path, np.ndarray], name: str) -> None:
    folder, effect = small_adapter
    assert 0.002 < np.abs(effect).mean() < 0.01  # nats: of this, a third is left when it is added to a rounded product
    engine = ENGINES[name](tiny_base, EngineOptions(device="cpu", precision="bfloat16"))
    served, base = (
        np.array([token.logprob for token in engine.score(IDS.tolist(), path, 1).result(300)])
        for path in (folder, None)
    )
    engine.close()
    assert _share(effect, served - base) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("fused", [True, False])
def test_a_small_change_is_trained_whole(tiny_base: Path, small_adapter: tuple[Path, np.ndarray], fused: bool) -> None:
    folder, effect = small_adapter
    spec = JobSpec(
        base=str(tiny_base), base_name="tiny", seed=1, precision="bfloat16", device="cpu", parent=str(folder)
    )
    model = TrainedModel(spec)
    assert model.compute == ComputeDevice(torch.device("cpu"), torch.bfloat16)
    if not fused:
        model.module.luthier_fused = None
    with torch.no_grad():
        trained = _logprobs(model)
        with model.without_adapter() as base:
            assert base
            change = (trained - _logprobs(model)).numpy()
    assert _share(effect, change) == pytest.approx(1, abs=0.25)
