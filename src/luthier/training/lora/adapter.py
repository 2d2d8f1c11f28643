"""LoRA adapters: attached to a base model for training, and written as PEFT folders.

The base's weights stay frozen, in bfloat16 where the hardware supports it; adapter weights are float32.
"""

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict

from luthier.training.durable_files import write_safetensors
from luthier.training.job_spec import JobSpec
from luthier.weights import lora_targets


def attach(base: Any, spec: JobSpec) -> Any:
    """The base with a new adapter on the layers that the job names, or with the parent's to continue from.

    Raises JobError for layers that the base does not have.
    """
    if spec.parent:
        return PeftModel.from_pretrained(base, spec.parent, is_trainable=True)
    targets = lora_targets(Path(spec.base), spec.lora_targets)
    shape = {"r": spec.lora_rank, "lora_alpha": spec.lora_alpha, "target_modules": targets}
    return get_peft_model(base, LoraConfig(**shape, lora_dropout=0.0, task_type="CAUSAL_LM"))


def write(model: Any, base_name: str, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json, as PEFT writes them."""
    # Left to itself, PEFT would ask a model hub whether the base's vocabulary has changed.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    write_safetensors(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = model.peft_config["default"]
    training_values = config.base_model_name_or_path, config.inference_mode
    config.base_model_name_or_path, config.inference_mode = base_name, True
    config.save_pretrained(str(folder))
    config.base_model_name_or_path, config.inference_mode = training_values
