"""A base model with an adapter on it, ready to train; and that adapter as a PEFT folder. Or a model that is trained
whole, see `whole`.

The base's weights stay as they are, in bfloat16 where the hardware has it; adapter weights are float32. Weights
are read as safetensors only, and code that comes with a model is never run.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.hardware import choose
from luthier.training.job_spec import JobSpec
from luthier.training.kernels.attention import NAME
from luthier.training.lora import full_finetune, llama
from luthier.training.resume_state import flush, write
from luthier.types.errors import BaseModelError
from luthier.weights import lora_targets


@dataclass(frozen=True)
class Hardware:
    """`dtype` is that of the base weights and of matrix products; reductions and adapters are float32."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads"


def hardware(device: str, precision: str) -> Hardware:
    """What the settings `device` and `precision` stand for on this machine."""
    chosen, dtype = choose(device, precision)
    return Hardware(torch.device(chosen), getattr(torch, dtype))


def load(spec: JobSpec, where: Hardware) -> Any:
    """The base with LoRA on it: a new adapter on the layers that the job names, or the parent's to continue from.
    With full tuning the base itself.

    Raises JobError for layers that the base does not have, and for memory that is not there.
    """
    torch.manual_seed(spec.seed)
    full = spec.tuning == "full"
    config = AutoConfig.from_pretrained(spec.base, trust_remote_code=False)
    _refuse_other_outputs(config)
    if full:
        full_finetune.require_memory(Path(spec.base), config, where.device)
    dtype = torch.float32 if full else where.dtype
    base = AutoModelForCausalLM.from_pretrained(
        spec.base, dtype=dtype, attn_implementation=NAME, trust_remote_code=False, use_safetensors=True
    )
    if full:
        return full_finetune.prepare(base, spec.parent).to(where.device).train()
    if spec.parent:
        model = PeftModel.from_pretrained(base, spec.parent, is_trainable=True)
    else:
        targets = lora_targets(Path(spec.base), spec.lora_targets)
        layers = {"r": spec.lora_rank, "lora_alpha": spec.lora_alpha, "target_modules": targets}
        model = get_peft_model(base, LoraConfig(**layers, lora_dropout=0.0, task_type="CAUSAL_LM"))
    model = model.to(where.device).train()
    model.luthier_path = llama.adapt(model)
    return model


def _refuse_other_outputs(config: Any) -> None:
    """The core takes logits as hidden states times the output weights; raises BaseModelError where there is more."""
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise BaseModelError(f"This base model changes its logits ({name}), which training does not know yet.")


def recompute(model: Any) -> None:
    """Layers keep their inputs alone and are computed again on the way back: slower, in a fraction of the memory."""
    path = getattr(model, "luthier_path", None)
    if path is not None:
        path.recompute = True
    else:
        base_of(model).gradient_checkpointing_enable({"use_reentrant": False})


def base_of(model: Any) -> Any:
    """The model below the adapter; one that is trained whole is its own."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def described(model: Any) -> str:
    """What of it is trained, in words."""
    weights = sum(parameter.numel() for parameter in trainable(model).values())
    if not isinstance(model, PeftModel):
        return f"{weights:,} weights are trained: all there are"
    config = model.peft_config["default"]
    layers = sorted({name.split(".lora_")[0].rsplit(".", 1)[1] for name in trainable(model)})
    shape = f"rank {config.r}, alpha {config.lora_alpha}"
    return f"{weights:,} weights are trained: LoRA of {shape}, on {', '.join(layers)}"


def save(model: Any, spec: JobSpec, template: str, folder: Path, where: Hardware) -> None:
    """What was trained as a folder that appears whole or not at all: of PEFT's form, or a whole model's."""
    if spec.tuning == "full":
        full_finetune.save(model, Path(spec.base), template, folder, where.dtype)
    else:
        save_adapter(model, spec.base_name, template, folder)


def save_adapter(model: Any, base_name: str, template: str, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json as PEFT writes them, and the chat template beside.

    The folder appears whole or not at all.
    """
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    # Left to itself, PEFT would ask a model hub whether the base's vocabulary has changed.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    write(tensors, new / "adapter_model.safetensors", {"format": "pt"})
    config = model.peft_config["default"]
    kept = config.base_model_name_or_path, config.inference_mode
    config.base_model_name_or_path, config.inference_mode = base_name, True
    config.save_pretrained(str(new))
    config.base_model_name_or_path, config.inference_mode = kept
    (new / "chat_template.jinja").write_text(template, encoding="utf-8")
    for file in new.iterdir():
        flush(file)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
