"""The model families that are trained and served: a tiny random model of each."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)


@dataclass(frozen=True)
class Family:
    """`fused`: every engine supports it. `training_error`: what matches the error, if training refuses it."""

    config: type
    options: dict[str, Any] = field(default_factory=dict)
    fused: bool = False
    training_error: str = ""


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
_UNTIED = {"head_dim": 8, "tie_word_embeddings": False}
FAMILIES = {
    "llama": Family(LlamaConfig, {"rope_parameters": _LLAMA3}, fused=True),
    "llama with wide heads": Family(LlamaConfig, {"head_dim": 16, "tie_word_embeddings": False}, fused=True),
    "mistral": Family(MistralConfig, {"sliding_window": None}, fused=True),
    "mistral with a wide window": Family(MistralConfig, {"sliding_window": 4096}),
    "mistral with a short window": Family(
        MistralConfig, {"sliding_window": 16}, training_error="sliding window of 16 tokens, shorter"
    ),
    "qwen2": Family(Qwen2Config, fused=True),
    "qwen3": Family(Qwen3Config, {"head_dim": 8}),
    "gemma": Family(GemmaConfig, {"head_dim": 8}),
    "gemma2": Family(Gemma2Config, {**_UNTIED, "sliding_window": 64}, training_error="final_logit_softcapping"),
    "gemma2 with soft caps in attention": Family(
        Gemma2Config, {**_UNTIED, "final_logit_softcapping": None}, training_error="soft caps"
    ),
    "gemma3": Family(Gemma3TextConfig, {**_UNTIED, "query_pre_attn_scalar": 8, "sliding_window": 512}),
    "phi3": Family(Phi3Config, {"sliding_window": None}),
    "smollm3": Family(SmolLM3Config, {"no_rope_layers": [1, 0]}),
}


def make_base(folder: Path, tiny_base: Path, family: Family, spread: float) -> Path:
    """With the tokenizer of the tiny base; `spread`: the standard deviation of its weights."""
    torch.manual_seed(1)
    config = family.config(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=spread,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
        **family.options,
    )
    base = shutil.copytree(tiny_base, folder / "base")
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if (
            parameter.dim() == 1
        ):  # initialised to zeros and ones, biases and norms that are left out would not be noticed
            parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(base)
    return base
