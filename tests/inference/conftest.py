"""LoRA adapters of the tiny base, for the tests of engines."""

from pathlib import Path

import pytest

from luthier.training.job_spec import JobSpec


@pytest.fixture(scope="module")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four adapters of different ranks and targets, with different outputs."""
    import torch  # here, since the scheduler is tested without it

    from luthier.training.compute_device import ComputeDevice
    from luthier.training.durable_files import new_folder
    from luthier.training.lora import adapter
    from luthier.training.model import load_model, trainable_parameters

    folder, folders = tmp_path_factory.mktemp("adapters"), []
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
        folders.append(folder / f"adapter-{seed}")
        with new_folder(folders[-1]) as new:
            adapter.write(model, "tiny", new)
    return folders


@pytest.fixture(scope="module")
def prompt(tiny_base: Path) -> list[int]:
    from luthier.data.rendering.renderer import Renderer

    return Renderer(tiny_base).prompt([{"role": "user", "content": "Tell me something."}])
