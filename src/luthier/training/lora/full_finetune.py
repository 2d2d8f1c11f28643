"""Full fine-tuning: all weights of a base model trained, and the model folder that comes of it.

Weights, gradients and both moments of AdamW are float32: a step of 1e-4 is lost when it is rounded to bfloat16's
eight bits. Products of matrices run in bfloat16 where the hardware has it, as with an adapter, and the model is saved
in the format in which it is served.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from luthier.training import token_budget
from luthier.training.resume_state import flush, write
from luthier.types.errors import JobError
from luthier.types.job_options import TUNING
from luthier.weights import count

_HELD_BYTES = 4  # of each weight
_STEP_BYTES = 4 + 8 + 2  # its gradient, its moments, and its copy in bfloat16
_LEAST_TOKENS = 512  # that must fit beside them
_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "generation_config.json",
)


def require_memory(base: Path, config: Any, device: torch.device) -> None:
    """Raises JobError when training all weights would not fit into what is free now."""
    weights = count(base)
    activations = _LEAST_TOKENS * token_budget.bytes_per_token(config, torch.float32)
    needed, free = weights * (_HELD_BYTES + _STEP_BYTES) + activations, token_budget.free_bytes(device)
    if needed > free:
        raise JobError(
            "insufficient_memory",
            f"Training all {weights:,} weights takes about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            f"are free. Leave '{TUNING}' out to train an adapter, take a smaller base model, or free some memory.",
            "metadata",
        )


def step_bytes(model: Any) -> int:
    """What the first step will take that is not there before it."""
    return sum(_STEP_BYTES * int(parameter.numel()) for parameter in model.parameters())


def prepare(base: Any, parent: str | None) -> Any:
    """A float32 base with all its weights to be trained; the adapter of `parent` becomes part of them."""
    if parent:
        base = PeftModel.from_pretrained(base, parent).merge_and_unload()
    return base.requires_grad_(True)


def save(model: Any, base: Path, template: str, folder: Path, dtype: torch.dtype) -> None:
    """A model folder as transformers writes it, with the tokenizer of `base`. It appears whole or not at all."""
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    own = {name for name, _ in model.named_parameters()}  # weights that are tied to each other once
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - own
    tensors = {
        name: tensor.detach().to(dtype=dtype, device="cpu").contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    write(tensors, new / "model.safetensors", {"format": "pt"})
    kept, model.config.dtype = model.config.dtype, dtype
    model.config.save_pretrained(new)
    model.config.dtype = kept
    for name in _COPIED:
        if (base / name).exists():
            shutil.copyfile(base / name, new / name)
    (new / "chat_template.jinja").write_text(template, encoding="utf-8")
    for file in new.iterdir():
        flush(file)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
