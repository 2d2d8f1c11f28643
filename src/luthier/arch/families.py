"""Attention-only model types: the features that every model of a type has, and the config keys that the type honours.

Defaults are those of transformers 5, whose own code is the reference; `tests/arch` compares them. A model type that is
not listed here is served and trained by transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.arch.features import Feature

# Keys that every type honours and that no config may leave out.
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
# Keys that stand for features where they are true; a family may give them another meaning.
SWITCHES = {
    "tie_word_embeddings": {Feature.TIED_EMBEDDINGS},
    "attention_bias": {Feature.QKV_BIAS, Feature.OUTPUT_BIAS},
    "mlp_bias": {Feature.MLP_BIAS},
    "use_qk_norm": {Feature.QK_NORM},
    "norm_topk_prob": {Feature.NORMALIZED_ROUTING},
    "use_bidirectional_attention": {Feature.BIDIRECTIONAL_ATTENTION},
    "quantization_config": {Feature.QUANTIZED_WEIGHTS},
}

_SHARED: dict[str, Any] = {
    "num_key_value_heads": None,  # as many as query heads
    "head_dim": None,  # hidden size / heads
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "rope_theta": 10_000.0,
    "rope_scaling": None,
    "rope_parameters": None,
    "original_max_position_embeddings": None,
    "quantization_config": None,
}
_GRANITE_EXPERTS = ("block_sparse_moe.router", "block_sparse_moe.experts")
_BIASES: dict[str, Any] = {"attention_bias": False}
_ALL_BIASES: dict[str, Any] = {"attention_bias": False, "mlp_bias": False}
_ROUTER: dict[str, Any] = {"router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0}
_QWEN_WINDOW: dict[str, Any] = {"use_sliding_window": False, "sliding_window": 4096}
_QWEN_WINDOWS: dict[str, Any] = {**_QWEN_WINDOW, "max_window_layers": 28, "layer_types": None}
_GEMMA: dict[str, Any] = {
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_bidirectional_attention": None,
}
_GEMMA2: dict[str, Any] = {
    **_GEMMA,
    "num_key_value_heads": 4,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "layer_types": None,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_COHERE: dict[str, Any] = {
    "layer_norm_eps": 1e-5,
    "logit_scale": 0.0625,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "attention_bias": False,
}
_GRANITE: dict[str, Any] = {
    **_ALL_BIASES,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
}
_GLM: dict[str, Any] = {
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1.5625e-7,
    "attention_bias": True,
    "partial_rotary_factor": 0.5,
}
# Of layers that no described model has, so that they have no effect.
_MAMBA: dict[str, Any] = dict.fromkeys(
    """
    mamba_n_heads mamba_n_groups mamba_d_state mamba_d_head mamba_d_conv mamba_expand mamba_chunk_size mamba_conv_bias
    mamba_proj_bias time_step_limit time_step_min time_step_max time_step_floor normalization_function init_method
    """.split()  # noqa: SIM905 - a list of quoted keys would be longer
)


@dataclass(frozen=True)
class Family:
    """`options`: the config keys that the type honours beside SIZES, with the value that a config may leave out.

    `switches`: the keys that stand for features where they are true.
    `linears`: fused projections whose linear layers have other names than `projections.PROJECTIONS` says.
    `experts`: the names of a layer's router and of its experts, for mixtures of experts.
    `norms`: those before and after attention, and before and after the MLP, where they have other names than usual.
    `rope_kinds`: what its first releases called the kinds of RoPE scaling.
    `full_attention_every`: with windows but without `layer_types`, every n-th layer attends to all tokens.
    """

    features: frozenset[Feature] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, set[Feature]] = field(default_factory=lambda: SWITCHES)
    linears: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    experts: tuple[str, str] = ("mlp.gate", "mlp.experts")
    norms: tuple[str, str, str, str] | None = None
    rope_kinds: Mapping[str, str] = field(default_factory=dict)
    full_attention_every: int | None = None


def _family(
    *features: Feature,
    switches: Mapping[str, set[Feature]] | None = None,
    linears: Mapping[str, tuple[str, ...]] | None = None,
    experts: tuple[str, str] = Family.experts,
    norms: tuple[str, str, str, str] | None = None,
    rope_kinds: Mapping[str, str] | None = None,
    full_attention_every: int | None = None,
    **options: Any,
) -> Family:
    switched = {**SWITCHES, **(switches or {})}
    names = (linears or {}, experts, norms, rope_kinds or {})
    return Family(frozenset(features), _SHARED | options, switched, *names, full_attention_every)


FAMILIES: dict[str, Family] = {
    "llama": _family(**_ALL_BIASES),
    "mistral": _family(num_key_value_heads=8, max_position_embeddings=131_072, sliding_window=4096),
    "qwen2": _family(Feature.QKV_BIAS, max_position_embeddings=32_768, **_QWEN_WINDOWS),
    "qwen3": _family(Feature.QK_NORM, head_dim=128, max_position_embeddings=32_768, **_BIASES, **_QWEN_WINDOWS),
    "qwen3_moe": _family(
        *(Feature.QK_NORM, Feature.MIXTURE_OF_EXPERTS),
        num_key_value_heads=4, max_position_embeddings=32_768, **_BIASES, **_QWEN_WINDOW,
        decoder_sparse_step=1, mlp_only_layers=None, moe_intermediate_size=768, norm_topk_prob=False,
        num_experts_per_tok=8, num_experts=128, num_local_experts=128, max_window_layers=None, **_ROUTER,
    ),
    "mixtral": _family(
        *(Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING),
        num_key_value_heads=8, max_position_embeddings=131_072, rms_norm_eps=1e-5, sliding_window=None,
        num_local_experts=8, num_experts_per_tok=2, **{**_ROUTER, "rope_theta": 1_000_000.0},
    ),
    "gemma": _family(Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER, **{**_GEMMA, "hidden_activation": None}),
    "gemma2": _family(
        *(Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER, Feature.SANDWICH_NORM), full_attention_every=2, **_GEMMA2
    ),
    "gemma3_text": _family(
        *(Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER, Feature.SANDWICH_NORM, Feature.QK_NORM),
        full_attention_every=6,
        **{**_GEMMA2, "max_position_embeddings": 131_072, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0,
           "sliding_window_pattern": None, "_sliding_window_pattern": 6, "use_bidirectional_attention": False,
           "attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    "phi3": _family(
        Feature.JOINED_WEIGHTS,
        linears={"qkv": ("self_attn.qkv_proj",), "gate_up": ("mlp.gate_up_proj",)},
        rope_kinds={"yarn": "longrope"},
        max_position_embeddings=4096, original_max_position_embeddings=4096, rms_norm_eps=1e-5, sliding_window=None,
        partial_rotary_factor=1.0,
    ),
    "smollm3": _family(
        num_key_value_heads=4, max_position_embeddings=32_768, tie_word_embeddings=True, rope_theta=2_000_000.0,
        no_rope_layers=None, no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None, layer_types=None,
        max_window_layers=None, **_ALL_BIASES,
    ),
    "granite": _family(**_GRANITE),
    "granitemoe": _family(
        *(Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING),
        experts=_GRANITE_EXPERTS, num_local_experts=8, num_experts_per_tok=2, **_ROUTER, **_GRANITE,
    ),
    "granitemoehybrid": _family(  # Granite 4, of which some are attention alone, without experts
        Feature.JOINED_WEIGHTS,
        switches={
            "num_local_experts": {Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING, Feature.SHARED_EXPERT}
        },
        experts=_GRANITE_EXPERTS,
        linears={"gate_up": ("shared_mlp.input_linear",), "down": ("shared_mlp.output_linear",)},
        shared_intermediate_size=1024, position_embedding_type=None, layer_types=("linear_attention",),
        num_local_experts=8, **{**_ROUTER, "num_experts_per_tok": 2}, **_MAMBA, **_GRANITE,
    ),
    "ministral": _family(num_key_value_heads=8, max_position_embeddings=131_072, sliding_window=4096, layer_types=None),
    "seed_oss": _family(
        switches={"attention_bias": {Feature.QKV_BIAS}, "attention_out_bias": {Feature.OUTPUT_BIAS}},
        num_key_value_heads=8, head_dim=128, max_position_embeddings=524_288,
        **{**_ALL_BIASES, "attention_bias": True, "attention_out_bias": False},
    ),
    "ernie4_5": _family(
        Feature.INTERLEAVED_ROTARY,
        switches={"use_bias": {Feature.QKV_BIAS, Feature.OUTPUT_BIAS, Feature.MLP_BIAS}},
        num_key_value_heads=2, head_dim=128, max_position_embeddings=131_072, rms_norm_eps=1e-5, rope_theta=500_000.0,
        tie_word_embeddings=True, use_bias=False,
    ),
    "glm": _family(
        *(Feature.INTERLEAVED_ROTARY, Feature.JOINED_WEIGHTS),
        switches={"attention_bias": {Feature.QKV_BIAS}},
        linears={"gate_up": ("mlp.gate_up_proj",)},
        **_GLM,
    ),
    "glm4": _family(
        *(Feature.INTERLEAVED_ROTARY, Feature.JOINED_WEIGHTS, Feature.SANDWICH_NORM),
        switches={"attention_bias": {Feature.QKV_BIAS}},
        linears={"gate_up": ("mlp.gate_up_proj",)},
        norms=("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"),
        **_GLM,
    ),
    "olmo2": _family(Feature.POST_NORM, Feature.QK_NORM_ALL_HEADS, rms_norm_eps=1e-5, **_BIASES),
    "olmoe": _family(
        *(Feature.QK_NORM_ALL_HEADS, Feature.MIXTURE_OF_EXPERTS),
        max_position_embeddings=4096, rms_norm_eps=1e-5, norm_topk_prob=False, num_experts_per_tok=8, num_experts=64,
        num_local_experts=64, **_BIASES, **_ROUTER,
    ),
    "olmo3": _family(
        *(Feature.POST_NORM, Feature.QK_NORM_ALL_HEADS),
        full_attention_every=4,
        rms_norm_eps=1e-5, rope_theta=500_000.0, sliding_window=4096, layer_types=None, **_BIASES,
    ),
    "gpt_oss": _family(
        *(Feature.ATTENTION_SINKS, Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING),
        experts=("mlp.router", "mlp.experts"),
        full_attention_every=2,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=131_072, rms_norm_eps=1e-5, rope_theta=150_000.0,
        rope_scaling={"rope_type": "yarn"}, sliding_window=128, layer_types=None, attention_bias=True,
        num_local_experts=128, num_experts=128, num_experts_per_tok=4, experts_per_token=None, swiglu_alpha=1.702,
        swiglu_limit=7.0, initial_context_length=None, **_ROUTER,
    ),
    "cohere": _family(
        *(Feature.LAYER_NORM, Feature.PARALLEL_BLOCK, Feature.INTERLEAVED_ROTARY),
        use_qk_norm=False, rope_theta=500_000.0, **_COHERE,
    ),
    "cohere2": _family(
        *(Feature.LAYER_NORM, Feature.PARALLEL_BLOCK, Feature.INTERLEAVED_ROTARY, Feature.NOPE_LAYERS),
        full_attention_every=4,
        head_dim=128, sliding_window=4096, sliding_window_pattern=None, layer_types=None, **_COHERE,
    ),
}  # fmt: skip
