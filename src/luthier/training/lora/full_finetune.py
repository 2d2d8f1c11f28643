"""Full fine-tuning: every weight of a base model is trained, and a complete model folder is written.

Weights, gradients and both moments of AdamW are float32: a relative step of 1e-4 is lost when rounded to bfloat16's
eight bits. Matrix products run in bfloat16 where the hardware supports it, as with an adapter, and the model is saved
in the dtype in which it is served.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from luthier.training import token_budget
from luthier.training.durable_files import write_safetensors
from luthier.types.errors import JobError
from luthier.types.job_options import TUNING
from luthier.weights import TOKENIZER_FILES, count_parameters

_WEIGHT_BYTES = 4
_STEP_BYTES = 4 + 8 + 2  # per weight: gradient, moments, and the copy in bfloat16
_MIN_TOKENS = 512  # tokens whose activations must fit in addition


def require_memory(base: Path, config: Any, device: torch.device) -> None:
    """Raises JobError if training all weights does not fit into the free memory."""
    weights = count_parameters(base)
    activations = _MIN_TOKENS * token_budget.bytes_per_token(config, torch.float32)
    needed, free = weights * (_WEIGHT_BYTES + _STEP_BYTES) + activations, token_budget.free_bytes(device)
    if needed > free:
        raise JobError(
            "insufficient_memory",
            f"Training all {weights:,} weights takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            f"are free. Leave '{TUNING}' out to train an adapter, take a smaller base model, or free some memory.",
            "metadata",
        )


def step_bytes(model: Any) -> int:
    """Memory that the first optimizer step allocates: gradients, moments and bfloat16 copies."""
    return sum(_STEP_BYTES * int(parameter.numel()) for parameter in model.parameters())


def prepare(base: Any, parent: str | None) -> Any:
    """Makes all weights of a float32 base trainable; the adapter of `parent` is merged into them first."""
    if parent:
        base = PeftModel.from_pretrained(base, parent).merge_and_unload()
    return base.requires_grad_(True)


def write(model: Any, base: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write weights and config in transformers' format, and the tokenizer of `base`."""
    own = {name for name, _ in model.named_parameters()}  # tied weights once
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - own
    tensors = {
        name: tensor.detach().to(dtype=dtype, device="cpu").contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    write_safetensors(tensors, folder / "model.safetensors", {"format": "pt"})
    training_dtype, model.config.dtype = model.config.dtype, dtype
    model.config.save_pretrained(folder)
    model.config.dtype = training_dtype
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
