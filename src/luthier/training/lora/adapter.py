"""LoRA adapters: attached to a base model for training, and written as PEFT folders.

The base's weights stay frozen, in bfloat16 where the hardware supports it; adapter weights are float32.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

from luthier.arch import DecoderSpec, Feature, Unsupported
from luthier.arch.projections import linear_names
from luthier.training.durable_files import write_safetensors
from luthier.training.job_spec import JobSpec
from luthier.types.errors import JobError
from luthier.weights import ALL_LINEAR, lora_targets


def attach(base: Any, spec: JobSpec) -> Any:
    """The base with a new adapter on the job's target layers, or with the parent's adapter to continue from.

    Raises JobError for layers that the base does not have.
    """
    if spec.parent:
        return PeftModel.from_pretrained(base, spec.parent, is_trainable=True)
    targets = adapted_layers(base.config, lora_targets(Path(spec.base), spec.lora_targets))
    shape = {"r": spec.lora_rank, "lora_alpha": spec.lora_alpha, "target_modules": targets}
    config = LoraConfig(**shape, lora_dropout=0.0, task_type="CAUSAL_LM")
    if targets == ALL_LINEAR:
        config.exclude_modules = _refused_layers(base, config) or None
    return get_peft_model(base, config)


def adapted_layers(config: Any, targets: str | list[str]) -> str | list[str]:
    """`targets` in PEFT's format; for a mixture of experts, the layers that every token passes through.

    PEFT would also adapt routers and experts, with factors for each expert, which no engine serves in batches. Raises
    JobError if `targets` names such layers.
    """
    decoder = DecoderSpec.from_config(config)
    if isinstance(decoder, Unsupported) or decoder.experts is None:
        return targets
    shared = ("gate_up", "down") if Feature.SHARED_EXPERT in decoder.features else ()
    paths = [path for projection in ("qkv", "out", *shared) for path in linear_names(decoder)[projection]]
    names = [path.rpartition(".")[2] for path in paths]
    if targets == ALL_LINEAR:
        return names
    if missing := sorted(set(targets) - set(names)):
        quoted, listed = ", ".join(f"'{name}'" for name in missing), ", ".join(names)
        raise JobError(
            "invalid_targets",
            f"Adapters cannot be attached to {quoted} of a mixture of experts. They can to {listed}.",
            "metadata",
        )
    return targets


def _refused_layers(base: Any, config: LoraConfig) -> list[str]:
    """Names of the linear layers to which PEFT attaches no adapter: some Mamba kernels bypass them."""
    refused = set()
    for path, module in base.named_modules():
        name = path.rpartition(".")[2]
        if isinstance(module, torch.nn.Linear) and name not in refused:
            try:
                _check_lora_target_modules_mamba(config, base, name)
            except ValueError:
                refused.add(name)
    return sorted(refused)


def write(model: Any, base_name: str, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json, as PEFT writes them."""
    # By default, PEFT would ask a model hub whether the base's vocabulary has changed.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    write_safetensors(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = model.peft_config["default"]
    training_values = config.base_model_name_or_path, config.inference_mode
    config.base_model_name_or_path, config.inference_mode = base_name, True
    config.save_pretrained(str(folder))
    config.base_model_name_or_path, config.inference_mode = training_values
