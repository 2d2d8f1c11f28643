"""Adapters of the tiny base, for the tests of engines."""

from pathlib import Path

import pytest

from luthier.training.job_spec import JobSpec


@pytest.fixture(scope="module")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four adapters that do different things, of different shapes."""
    import torch  # here, since the scheduler is tested without it

    from luthier.training.compute_device import ComputeDevice
    from luthier.training.durable_files import new_folder
    from luthier.training.lora import adapter
    from luthier.training.model import load_model, trainable_parameters

    folder, made = tmp_path_factory.mktemp("adapters"), []
    for seed, (rank, alpha, targets) in enumerate(
        [(16, 32, "all-linear"), (4, 16, "attention"), (20, 20, "v_proj,down_proj"), (1, 8, "mlp")]
    ):
        shape = {"lora_rank": rank, "lora_alpha": alpha, "lora_targets": targets}
        spec = JobSpec(base=str(tiny_base), base_name="tiny", seed=seed, precision="float32", device="cpu", **shape)
        model = load_model(spec, ComputeDevice.select("cpu", "float32"))
        torch.manual_seed(seed)
        for name, parameter in trainable_parameters(model).items():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.3)
        made.append(folder / f"adapter-{seed}")
        with new_folder(made[-1]) as new:
            adapter.write(model, "tiny", new)
    return made
