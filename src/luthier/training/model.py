"""The model that a job trains: a base model with LoRA, or all of its weights.

Weights are read as safetensors only, and code that comes with a model is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from luthier.arch.model_config import load_config
from luthier.arch.peft_rounding import round_once
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.kernels.attention import NAME
from luthier.training.lora import adapter, full_finetune, llama
from luthier.training.protocol import TrainableParameters
from luthier.types.errors import BaseModelError


class TrainedModel:
    """`module`: a PeftModel, or with full fine-tuning transformers' causal language model."""

    def __init__(self, spec: JobSpec) -> None:
        """Raises JobError for LoRA targets that the base does not have, and for too little memory."""
        self._spec = spec
        self.compute = ComputeDevice.select(spec.device, spec.precision)
        self.module = load_model(spec, self.compute)
        self.parameters = trainable_parameters(self.module)

    @property
    def config(self) -> Any:
        return base_of(self.module).config

    @property
    def activation_dtype(self) -> torch.dtype:
        """The dtype that activations take at most, for estimates of memory."""
        return torch.float32 if self._spec.tuning == "full" else self.compute.dtype

    def step_bytes(self) -> int:
        """Memory that the first optimizer step allocates; next to none with LoRA."""
        return full_finetune.step_bytes(self.module) if self._spec.tuning == "full" else 0

    def enable_gradient_checkpointing(self) -> None:
        """Layers keep their inputs alone and recompute their activations: slower, in a fraction of the memory."""
        fused = getattr(self.module, "luthier_fused", None)
        if fused is not None:
            fused.gradient_checkpointing = True
        else:
            base_of(self.module).gradient_checkpointing_enable({"use_reentrant": False})

    @contextmanager
    def without_adapter(self) -> Iterator[bool]:
        """The base model's outputs meanwhile; False, and no change, where all weights are trained."""
        if not isinstance(self.module, PeftModel):
            yield False
            return
        with self.module.disable_adapter():
            yield True

    def describe(self) -> TrainableParameters:
        count = sum(parameter.numel() for parameter in self.parameters.values())
        if not isinstance(self.module, PeftModel):
            return TrainableParameters(count=count)
        config = self.module.peft_config["default"]
        layers = sorted({name.split(".lora_")[0].rsplit(".", 1)[1] for name in self.parameters})
        return TrainableParameters(count=count, rank=config.r, alpha=config.lora_alpha, layers=layers)

    def write(self, folder: Path) -> None:
        """Weights and config: an adapter in PEFT's form, or a complete model with its tokenizer."""
        if self._spec.tuning == "full":
            full_finetune.write(self.module, Path(self._spec.base), folder, self.compute.dtype)
        else:
            adapter.write(self.module, self._spec.base_name, folder)


def load_model(spec: JobSpec, compute: ComputeDevice) -> Any:
    """The base on its device, with a LoRA adapter or with all weights trainable. Raises as `TrainedModel` does."""
    torch.manual_seed(spec.seed)
    full = spec.tuning == "full"
    config = load_config(Path(spec.base))
    _require_plain_logits(config)
    if full:
        full_finetune.require_memory(Path(spec.base), config, compute.device)
    dtype = torch.float32 if full else compute.dtype
    options = {"attn_implementation": NAME, "trust_remote_code": False, "use_safetensors": True}
    base = AutoModelForCausalLM.from_pretrained(spec.base, config=config, dtype=dtype, **options)
    if full:
        return full_finetune.prepare(base, spec.parent).to(compute.device).train()
    model = adapter.attach(base, spec).to(compute.device).train()
    round_once(model)
    model.luthier_fused = llama.fuse(model)
    return model


def _require_plain_logits(config: Any) -> None:
    """Log-probabilities are computed from hidden states times the output weights. Raises BaseModelError for more."""
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise BaseModelError(f"This base model changes its logits ({name}), which training does not know yet.")


def base_of(module: Any) -> Any:
    """The model below the adapter; with full fine-tuning the module itself."""
    return module.get_base_model() if isinstance(module, PeftModel) else module


def trainable_parameters(module: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
