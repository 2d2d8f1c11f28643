"""DecoderSpec over configs as their authors publish them, and over the defaults of transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.arch import DecoderSpec, Feature, Unsupported
from luthier.arch.experts import Experts, GateClamp
from luthier.arch.families import FAMILIES, SIZES
from luthier.arch.features import listed
from luthier.arch.projections import PROJECTIONS, output_sizes, shapes

GQA, TIED = Feature.GROUPED_QUERY_HEADS, Feature.TIED_EMBEDDINGS


def _config(
    model_type: str, hidden: int, inner: int, layers: int, heads: int, words: int, **more: Any
) -> dict[str, Any]:
    sizes = dict(zip(SIZES, (hidden, inner, layers, heads, words), strict=True))
    return {"model_type": model_type, "torch_dtype": "bfloat16", "use_cache": True, **sizes, **more}


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA = _config("llama", 4096, 11008, 32, 32, 32000, pretraining_tp=1, rope_scaling=None, hidden_act="silu")
QWEN2 = _config(
    *("qwen2", 896, 4864, 24, 14, 151936),
    num_key_value_heads=2, tie_word_embeddings=True, use_sliding_window=False, sliding_window=32768,
    max_window_layers=21, rope_theta=1e6,
)  # fmt: skip
GRANITE = _config(
    *("granite", 2048, 8192, 40, 32, 49155),
    num_key_value_heads=8, tie_word_embeddings=True, attention_bias=False, mlp_bias=False, rope_theta=1e7,
    attention_multiplier=0.015625, embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22,
)  # fmt: skip
PUBLISHED: dict[str, tuple[dict[str, Any], set[Feature]]] = {
    "Llama 2": (LLAMA, set()),
    "Llama 3.2": (
        _config(
            *("llama", 2048, 8192, 16, 32, 128256),
            num_key_value_heads=8, tie_word_embeddings=True, rope_scaling=LLAMA3_ROPE, rope_theta=5e5, head_dim=64,
        ),
        {GQA, TIED, Feature.LLAMA3_ROPE},
    ),
    "SmolLM2": (
        _config(
            *("llama", 576, 1536, 30, 9, 49152),
            num_key_value_heads=3, tie_word_embeddings=True, rope_theta=1e5, is_llama_config=True,
            rope_interleaved=False, _model_name_or_path="SmolLM2", **{"transformers.js_config": {"dtype": "q4"}},
        ),
        {GQA, TIED},
    ),
    "Llama with biases": (
        LLAMA | {"attention_bias": True, "mlp_bias": True},
        {Feature.QKV_BIAS, Feature.OUTPUT_BIAS, Feature.MLP_BIAS},
    ),
    "Mistral 7B v0.1": (
        _config("mistral", 4096, 14336, 32, 32, 32000, num_key_value_heads=8, sliding_window=4096),
        {GQA, Feature.SLIDING_WINDOW},
    ),
    "Mistral 7B v0.3": (
        _config("mistral", 4096, 14336, 32, 32, 32768, num_key_value_heads=8, sliding_window=None, rope_theta=1e6),
        {GQA},
    ),
    "Mistral Nemo": (
        _config(
            *("mistral", 5120, 14336, 40, 32, 131072), num_key_value_heads=8, sliding_window=None, head_dim=128
        ),
        {GQA, Feature.HEAD_DIM},
    ),
    "Qwen2.5": (QWEN2, {GQA, TIED, Feature.QKV_BIAS}),
    "Qwen2.5 with YaRN and windows": (
        QWEN2
        | {
            "use_sliding_window": True,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        {GQA, TIED, Feature.QKV_BIAS, Feature.YARN_ROPE, Feature.SLIDING_WINDOW},
    ),
    "Qwen3": (
        _config(
            *("qwen3", 1024, 3072, 28, 16, 151936),
            num_key_value_heads=8, tie_word_embeddings=True, head_dim=128, attention_bias=False, rope_theta=1e6,
            max_window_layers=28, sliding_window=None, use_sliding_window=False,
        ),
        {GQA, TIED, Feature.HEAD_DIM, Feature.QK_NORM},
    ),
    "Gemma": (
        _config("gemma", 2048, 16384, 18, 8, 256000, num_key_value_heads=1, hidden_act="gelu"),
        {GQA, TIED, Feature.GELU_TANH, Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER},
    ),
    "Gemma 2": (
        _config("gemma2", 2304, 9216, 26, 8, 256000, hidden_act="gelu_pytorch_tanh", cache_implementation="hybrid"),
        {
            *(GQA, TIED, Feature.HEAD_DIM, Feature.GELU_TANH, Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER),
            *(Feature.SANDWICH_NORM, Feature.SLIDING_WINDOW, Feature.ATTENTION_SOFTCAP, Feature.LOGIT_SOFTCAP),
        },
    ),
    "Gemma 3": (
        _config(
            *("gemma3_text", 1152, 6912, 26, 4, 262144),
            num_key_value_heads=1, sliding_window=512, sliding_window_pattern=6, rope_local_base_freq=10000,
            rope_theta=1_000_000,
        ),
        {
            *(GQA, TIED, Feature.HEAD_DIM, Feature.GELU_TANH, Feature.OFFSET_NORM, Feature.EMBEDDING_MULTIPLIER),
            *(Feature.SANDWICH_NORM, Feature.SLIDING_WINDOW, Feature.QK_NORM, Feature.ROPE_PER_LAYER_TYPE),
        },
    ),
    "Phi-3": (
        _config(
            *("phi3", 3072, 8192, 32, 32, 32064),
            sliding_window=262144, embd_pdrop=0.0, resid_pdrop=0.0, original_max_position_embeddings=4096,
            rope_scaling={"type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48},
        ),
        {Feature.JOINED_WEIGHTS, Feature.LONGROPE, Feature.SLIDING_WINDOW},
    ),
    "Phi-4 mini": (
        _config(
            *("phi3", 3072, 8192, 32, 24, 200064),
            num_key_value_heads=8, partial_rotary_factor=0.75, tie_word_embeddings=True, sliding_window=262144,
            max_position_embeddings=131072, original_max_position_embeddings=4096,
            rope_scaling={"type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48},
        ),
        {
            *(GQA, TIED, Feature.JOINED_WEIGHTS, Feature.PARTIAL_ROTARY, Feature.LONGROPE),
            Feature.SLIDING_WINDOW,
        },
    ),
    "Phi-4 mini without LongRoPE": (
        _config(
            *("phi3", 3072, 8192, 32, 24, 200064), num_key_value_heads=8, partial_rotary_factor=0.75,
            tie_word_embeddings=True,
        ),
        {GQA, TIED, Feature.JOINED_WEIGHTS, Feature.PARTIAL_ROTARY},
    ),
    "SmolLM3": (
        _config("smollm3", 2048, 11008, 36, 16, 128256, no_rope_layers=[1, 1, 1, 0] * 9, no_rope_layer_interval=4),
        {GQA, TIED, Feature.NOPE_LAYERS},
    ),
    "Granite 3": (
        GRANITE,
        {
            *(GQA, TIED, Feature.ATTENTION_SCALE, Feature.EMBEDDING_MULTIPLIER, Feature.LOGIT_SCALE),
            Feature.RESIDUAL_MULTIPLIER,
        },
    ),
    "Granite 4 350M": (
        _config(
            *("granitemoehybrid", 1024, 2048, 28, 16, 100352),
            num_key_value_heads=4, tie_word_embeddings=True, attention_bias=False, rope_theta=1e7, rope_scaling=None,
            attention_multiplier=0.015625, embedding_multiplier=12, logits_scaling=4, residual_multiplier=0.246,
            layer_types=["attention"] * 28, position_embedding_type="rope", shared_intermediate_size=2048,
            num_local_experts=0, num_experts_per_tok=0, normalization_function="rmsnorm", init_method="mup",
            mamba_n_heads=64, mamba_d_head=32, mamba_expand=2, mamba_chunk_size=256, output_router_logits=False,
        ),
        {
            *(GQA, TIED, Feature.JOINED_WEIGHTS, Feature.ATTENTION_SCALE, Feature.EMBEDDING_MULTIPLIER),
            *(Feature.LOGIT_SCALE, Feature.RESIDUAL_MULTIPLIER),
        },
    ),
    "OLMo 2": (
        _config("olmo2", 4096, 11008, 32, 32, 100352, rope_theta=5e5, attention_bias=False),
        {Feature.POST_NORM, Feature.QK_NORM_ALL_HEADS},
    ),
    "Mixtral": (
        _config("mixtral", 4096, 14336, 32, 32, 32000, num_key_value_heads=8, num_local_experts=8),
        {GQA, Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING},
    ),
    "Qwen3 MoE": (
        _config("qwen3_moe", 2048, 6144, 48, 32, 151936, head_dim=128, num_experts=128, norm_topk_prob=True),
        {GQA, Feature.HEAD_DIM, Feature.QK_NORM, Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING},
    ),
    "OLMoE": (
        _config(
            *("olmoe", 2048, 1024, 16, 16, 50304),
            num_key_value_heads=16, clip_qkv=None, norm_topk_prob=False, num_experts=64, num_experts_per_tok=8,
            router_aux_loss_coef=0.01, attention_bias=False, rope_scaling=None,
        ),
        {Feature.QK_NORM_ALL_HEADS, Feature.MIXTURE_OF_EXPERTS},
    ),
    "Granite 3.1 1B A400M": (
        _config(
            *("granitemoe", 1024, 512, 24, 16, 49155),
            num_key_value_heads=8, tie_word_embeddings=True, attention_multiplier=0.015625, embedding_multiplier=12.0,
            logits_scaling=6.0, residual_multiplier=0.22, num_local_experts=32, num_experts_per_tok=8,
        ),
        {
            *(GQA, TIED, Feature.ATTENTION_SCALE, Feature.EMBEDDING_MULTIPLIER, Feature.LOGIT_SCALE),
            *(Feature.RESIDUAL_MULTIPLIER, Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING),
        },
    ),
    "gpt-oss-20b": (
        _config(
            *("gpt_oss", 2880, 2880, 24, 64, 201088),
            num_key_value_heads=8, head_dim=64, attention_bias=True, sliding_window=128, swiglu_limit=7.0,
            num_local_experts=32, num_experts_per_tok=4, experts_per_token=4, initial_context_length=4096,
            layer_types=["sliding_attention", "full_attention"] * 12, rope_theta=150000,
            rope_scaling={
                "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                "original_max_position_embeddings": 4096,
            },
        ),
        {
            *(GQA, Feature.HEAD_DIM, Feature.QKV_BIAS, Feature.OUTPUT_BIAS, Feature.ATTENTION_SINKS),
            *(Feature.SLIDING_WINDOW, Feature.YARN_ROPE, Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING),
        },
    ),
    "GLM-4-9B-0414": (
        _config(
            *("glm4", 4096, 13696, 40, 32, 151552),
            num_key_value_heads=2, head_dim=128, attention_bias=False, partial_rotary_factor=0.5, rope_theta=1e4,
        ),
        {
            *(GQA, Feature.INTERLEAVED_ROTARY, Feature.PARTIAL_ROTARY, Feature.JOINED_WEIGHTS),
            Feature.SANDWICH_NORM,
        },
    ),
    "GLM-Edge": (
        _config("glm", 2048, 6144, 28, 16, 59264, num_key_value_heads=4, attention_bias=False),
        {GQA, Feature.INTERLEAVED_ROTARY, Feature.PARTIAL_ROTARY, Feature.JOINED_WEIGHTS},
    ),
    "Command R": (
        _config("cohere", 8192, 22528, 40, 64, 256000, logit_scale=0.0625, use_qk_norm=False),
        {TIED, Feature.LAYER_NORM, Feature.PARALLEL_BLOCK, Feature.INTERLEAVED_ROTARY, Feature.LOGIT_SCALE},
    ),
    "quantized Llama": (LLAMA | {"quantization_config": {"quant_method": "awq"}}, {Feature.QUANTIZED_WEIGHTS}),
}  # fmt: skip


def _spec(config: Any) -> DecoderSpec:
    spec = DecoderSpec.from_config(config)
    assert isinstance(spec, DecoderSpec), spec
    return spec


@pytest.mark.parametrize("name", PUBLISHED)
def test_features_of_published_configs(name: str) -> None:
    config, features = PUBLISHED[name]
    assert listed(_spec(config).features) == listed(frozenset(features))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_transformers_config_reads_the_same(name: str) -> None:
    """Old keys (rope_scaling, rope_theta, sliding_window_pattern) against what transformers makes of them."""
    config = {key: value for key, value in PUBLISHED[name][0].items() if key != "quantization_config"}
    assert _spec(AutoConfig.for_model(**config)) == _spec(config)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    complete = AutoConfig.for_model(model_type)
    sizes = {key: getattr(complete, key) for key in SIZES}
    spec = DecoderSpec.from_config({"model_type": model_type, **sizes})
    assert spec == DecoderSpec.from_config(complete)
    assert isinstance(spec, DecoderSpec) or model_type == "granitemoehybrid"  # whose layers are recurrent by default


def test_sizes_and_constants() -> None:
    spec = _spec(GRANITE)
    assert (spec.heads, spec.kv_heads, spec.head_dim, spec.layers) == (32, 8, 64, 40)
    assert (spec.attention_scale, spec.logit_scale, spec.embedding_multiplier) == (0.015625, 0.125, 12.0)
    assert spec.residual_multiplier == 0.22
    gemma = _spec(PUBLISHED["Gemma 3"][0])
    assert gemma.windows[:6] == (512,) * 5 + (None,)
    assert gemma.rotary.theta == 1e6
    assert gemma.rotary.local is not None
    assert gemma.rotary.local.theta == 1e4
    assert gemma.attention_scale == 1 / 16
    assert _spec(PUBLISHED["Qwen2.5 with YaRN and windows"][0]).windows == (None,) * 21 + (32768,) * 3
    assert _spec(PUBLISHED["SmolLM3"][0]).rope_layers[:4] == (True, True, True, False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "gpt_neox"}, "the model type 'gpt_neox' is not described"),
        ({"model_type": None}, "the model type 'None' is not described"),
        ({"hidden_act": "relu2"}, "the activation 'relu2' is not described"),
        ({"use_qk_norm": True}, "its config sets 'use_qk_norm', whose effect on 'llama' is not described"),
        ({"layer_types": ["full_attention"] * 32}, "sets 'layer_types', whose effect"),
        ({"rope_interleaved": True}, "sets 'rope_interleaved', whose effect"),
        ({"new_key": False}, "sets 'new_key', whose effect"),
        ({"rope_scaling": {"rope_type": "mrope"}}, "the RoPE type 'mrope' is not described"),
        ({"rope_scaling": {"type": "linear", "twist": 2}}, "the RoPE parameter 'twist' is not described"),
        ({"hidden_size": None}, "its config does not give 'hidden_size'"),
        ({"rms_norm_eps": None}, "float"),
    ],
)
def test_what_is_not_described_is_unsupported(change: dict[str, Any], reason: str) -> None:
    spec = DecoderSpec.from_config(LLAMA | change)
    assert isinstance(spec, Unsupported)
    assert reason in spec.reason


def test_a_key_that_is_off_or_describes_no_computation_is_no_obstacle() -> None:
    harmless = {
        "new_key": None,
        "pruned_heads": {},
        "temperature": 0.7,
        "unsloth_version": "2026.1",
        "use_mrope": False,
    }
    assert _spec(LLAMA | harmless) == _spec(LLAMA)


def test_phi3_first_called_longrope_su_and_yarn() -> None:
    for kind in ("su", "yarn"):
        config = _config("phi3", 3072, 8192, 32, 32, 32064, rope_scaling={"type": kind, "factor": 4.0})
        assert _spec(config).rotary.kind == "longrope"
        assert _spec(config).rotary.short_tokens == 4096


def test_experts() -> None:
    dense = _spec(PUBLISHED["Qwen3 MoE"][0] | {"mlp_only_layers": [0, 5], "decoder_sparse_step": 2})
    assert dense.experts is not None
    assert [index for index, has_experts in enumerate(dense.experts.layers) if has_experts][:4] == [1, 3, 7, 9]
    assert _spec(PUBLISHED["gpt-oss-20b"][0]).experts == Experts(4, (True,) * 24, GateClamp(1.702, 7.0))
    assert _spec(LLAMA).experts is None


def test_layers_of_an_undescribed_type_are_unsupported() -> None:
    spec = DecoderSpec.from_config(QWEN2 | {"layer_types": ["linear_attention"] * 24})
    assert spec == Unsupported("layers of the type 'linear_attention' are not described")


def test_a_folder_without_a_readable_config_is_unsupported(tmp_path: Path) -> None:
    for text in (None, "{", "[]"):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        spec = DecoderSpec.from_folder(tmp_path)
        assert isinstance(spec, Unsupported)
        assert "config.json" in spec.reason
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert DecoderSpec.from_folder(tmp_path) == _spec(LLAMA)


def test_a_text_config_may_leave_out_sizes(tmp_path: Path) -> None:
    """As Gemma 3's does; they are transformers' defaults then."""
    sizes = {"hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34, "sliding_window": 1024}
    text = {"model_type": "gemma3_text", **sizes}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    spec = DecoderSpec.from_folder(tmp_path)
    assert isinstance(spec, DecoderSpec)
    assert (spec.layers, spec.heads, spec.kv_heads, spec.head_dim) == (34, 8, 4, 256)


@pytest.mark.parametrize("more", [{"head_dim": 12}, {"num_key_value_heads": 1}])
def test_fused_projections_have_the_sizes_of_the_model(more: dict[str, int]) -> None:
    config = AutoConfig.for_model(**_config("llama", 32, 48, 1, 4, 300) | more)
    layer = AutoModelForCausalLM.from_config(config).model.layers[0]
    for name, linears in PROJECTIONS.items():
        parts = [layer.get_submodule(linear) for linear in linears]
        assert output_sizes(_spec(config))[name] == [part.out_features for part in parts]
        assert shapes(_spec(config))[name] == (parts[0].in_features, sum(part.out_features for part in parts))
