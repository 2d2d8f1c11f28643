"""The model families that are trained and served: a tiny random model of each."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    CohereConfig,
    Ernie4_5Config,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    Gemma4TextConfig,
    GemmaConfig,
    Glm4Config,
    GptOssConfig,
    GraniteConfig,
    GraniteMoeHybridConfig,
    Lfm2Config,
    LlamaConfig,
    MinistralConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoeConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
    SeedOssConfig,
    SmolLM3Config,
    StableLmConfig,
)


@dataclass(frozen=True)
class Family:
    """`fused`: every engine supports it; `batched`: that engine does.

    `separate_rows`: why training packs no examples, if so.
    """

    config: type
    options: dict[str, Any] = field(default_factory=dict)
    fused: bool = False
    batched: bool = True
    separate_rows: str | None = None


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 5.0],
    "partial_rotary_factor": 0.5,
}
_HEADS = {"head_dim": 8}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 5}
_UNTIED = {**_HEADS, "tie_word_embeddings": False}
_SOFTCAP = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0}
_LOCAL_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
_LAYER_TYPES = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
_GRANITE = {
    "attention_multiplier": 0.2,
    "embedding_multiplier": 3.0,
    "logits_scaling": 0.7,
    "residual_multiplier": 0.6,
}
_DELTA = {
    **_HEADS,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
FAMILIES = {
    "llama": Family(LlamaConfig, {"rope_parameters": _LLAMA3}, fused=True),
    "llama with wide heads": Family(LlamaConfig, {"head_dim": 16, "tie_word_embeddings": False}, fused=True),
    "llama with biases and GELU": Family(
        LlamaConfig, {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu", "rope_parameters": _YARN}
    ),
    "mistral": Family(MistralConfig, {"sliding_window": None}, fused=True),
    "mistral with a wide window": Family(MistralConfig, {"sliding_window": 4096}),
    "mistral with a short window": Family(MistralConfig, {"sliding_window": 16}),
    "mixtral": Family(MixtralConfig, {"sliding_window": None, **_EXPERTS}),
    "qwen2": Family(Qwen2Config, fused=True),
    "qwen3": Family(Qwen3Config, _HEADS),
    "qwen3 moe": Family(
        Qwen3MoeConfig,
        {**_HEADS, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [1]},
    ),
    "gemma": Family(GemmaConfig, _HEADS),
    "gemma2": Family(Gemma2Config, {**_UNTIED, **_SOFTCAP, "sliding_window": 16}),
    "gemma2 with soft caps in attention": Family(
        Gemma2Config, {**_UNTIED, **_SOFTCAP, "final_logit_softcapping": None}
    ),
    "gemma3": Family(
        Gemma3TextConfig,
        {**_UNTIED, "query_pre_attn_scalar": 5, "rope_parameters": _LOCAL_ROPE, **_LAYER_TYPES, "sliding_window": 512},
    ),
    "gemma3 with a short window": Family(Gemma3TextConfig, {**_UNTIED, **_LAYER_TYPES}),
    "gemma4": Family(
        Gemma4TextConfig,
        {
            **_UNTIED,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            "sliding_window": 16,
            "num_kv_shared_layers": 1,
            "use_double_wide_mlp": True,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 258,
            "final_logit_softcapping": 4.0,
        },
        batched=False,
    ),
    "phi3": Family(Phi3Config, {"sliding_window": None}),
    "phi3 with LongRoPE": Family(
        Phi3Config, {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 50, "sliding_window": None}
    ),
    "smollm3": Family(SmolLM3Config, {"no_rope_layers": [1, 0]}),
    "granite": Family(GraniteConfig, _GRANITE),
    "granite4": Family(
        GraniteMoeHybridConfig,
        {
            **_GRANITE,
            "layer_types": ["full_attention"] * 2,
            "num_local_experts": 0,
            "num_experts_per_tok": 0,
            "shared_intermediate_size": 40,
            "position_embedding_type": "rope",
            "mamba_n_heads": 8,
        },
    ),
    "granite4 with experts": Family(
        GraniteMoeHybridConfig,
        {
            **_GRANITE,
            **_EXPERTS,
            "layer_types": ["full_attention"] * 2,
            "shared_intermediate_size": 40,
            "position_embedding_type": "rope",
            "mamba_n_heads": 8,
        },
    ),
    "glm4": Family(Glm4Config, {**_HEADS, "num_key_value_heads": 2}),
    "olmo2": Family(Olmo2Config, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
    "olmoe": Family(OlmoeConfig, {"num_experts": 5, "num_experts_per_tok": 2}),
    "olmo3": Family(Olmo3Config, {**_LAYER_TYPES, "rope_parameters": _LOCAL_ROPE}),
    "ministral": Family(MinistralConfig, {**_HEADS, "sliding_window": 16}),
    "ernie4.5": Family(Ernie4_5Config, {**_HEADS, "use_bias": True}),
    "cohere": Family(CohereConfig, {"use_qk_norm": True, "logit_scale": 0.7}),
    "cohere2": Family(Cohere2Config, {**_HEADS, **_LAYER_TYPES, "logit_scale": 0.7}),
    "seed-oss with dropout": Family(
        SeedOssConfig, {**_HEADS, "attention_dropout": 0.5, "residual_dropout": 0.5}, fused=True
    ),
    "phi": Family(PhiConfig, batched=False),  # the output layer has a bias
    "stablelm": Family(StableLmConfig, batched=False, separate_rows="own_attention"),
    "gpt-oss": Family(
        GptOssConfig,
        {**_HEADS, **_EXPERTS, "sliding_window": 16, "rope_parameters": _YARN},
    ),
    "lfm2": Family(Lfm2Config, {"layer_types": ["conv", "full_attention"]}, batched=False, separate_rows="recurrent"),
    "qwen3.5": Family(Qwen3_5TextConfig, _DELTA, batched=False, separate_rows="recurrent"),
    "qwen3-next": Family(
        Qwen3NextConfig,
        {
            **_DELTA,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
        batched=False,
        separate_rows="recurrent",
    ),
    "granite4-h": Family(
        GraniteMoeHybridConfig,
        {
            **_MAMBA,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 48,
            "num_local_experts": 0,
            "logits_scaling": 0.5,
        },
        batched=False,
        separate_rows="recurrent",
    ),
    "falcon-h1": Family(FalconH1Config, {**_MAMBA, "mamba_d_ssm": 64}, batched=False, separate_rows="recurrent"),
}


def make_base(folder: Path, tiny_base: Path, family: Family, spread: float, width: int = 32) -> Path:
    """With the tokenizer of the tiny base; `spread`: the standard deviation of its weights; `width`: hidden size."""
    torch.manual_seed(1)
    sizes = {
        "vocab_size": 258,
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    tokens = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
    config = family.config(initializer_range=spread, **tokens, **(sizes | family.options))
    base = shutil.copytree(tiny_base, folder / "base")
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases and norms that are left out would not be noticed: they are zeros and ones
            parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(base)
    return base
