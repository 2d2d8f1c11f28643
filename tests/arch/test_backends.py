"""What each backend supports, and how it refuses the rest by the feature's name."""

import logging
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, GemmaConfig

from families import Family, make_base
from luthier.arch import Backend, DecoderSpec, Feature, Unsupported
from luthier.arch.features import CHINESE_NAMES
from luthier.inference.options import EngineOptions
from luthier.inference.registry import BACKENDS, build_engine, select_engine
from luthier.training.lora import fused_decoder
from luthier.types.errors import BaseModelError

OPTIONS = EngineOptions(device="cpu", precision="float32")
_AWQ = {"quantization_config": {"quant_method": "awq"}}
ENGINES = {Feature.GROUPED_QUERY_HEADS, Feature.HEAD_DIM, Feature.QKV_BIAS, Feature.LINEAR_ROPE, Feature.LLAMA3_ROPE}


def _spec(**config: Any) -> DecoderSpec | Unsupported:
    return DecoderSpec.from_config(AutoConfig.for_model(**config))


def test_supported_features() -> None:
    assert BACKENDS["native"].supported == ENGINES | {Feature.TIED_EMBEDDINGS}
    assert set(Feature) - BACKENDS["batched"].supported == {
        *(Feature.BIDIRECTIONAL_ATTENTION, Feature.QUANTIZED_WEIGHTS),
    }
    assert set(Feature) - fused_decoder.BACKEND.supported == {
        *(Feature.BIDIRECTIONAL_ATTENTION, Feature.QUANTIZED_WEIGHTS, Feature.ATTENTION_SINKS),
        *(Feature.MIXTURE_OF_EXPERTS, Feature.NORMALIZED_ROUTING, Feature.SHARED_EXPERT),
        *(Feature.LAYER_NORM, Feature.PARALLEL_BLOCK, Feature.INTERLEAVED_ROTARY),
    }


@pytest.mark.parametrize("name", BACKENDS)
def test_a_refusal_names_the_features(name: str) -> None:
    backend = BACKENDS[name]
    assert backend.refusal(_spec(model_type="llama")) is None
    quantized = DecoderSpec.from_config(AutoConfig.for_model("llama").to_dict() | _AWQ)
    assert backend.refusal(quantized) == f"the engine {name} does not support quantized weights"
    assert backend.refusal(_spec(model_type="gpt_neox")) == (
        f"the engine {name} does not support this architecture: the model type 'gpt_neox' is not described"
    )


def test_a_refusal_is_chinese_where_it_is_asked_for() -> None:
    assert CHINESE_NAMES.keys() == set(Feature)
    backend = BACKENDS["native"]
    assert backend.refusal(_spec(model_type="qwen3"), "zh") == "引擎 native 不支持：QK 归一化"
    assert (
        backend.refusal(_spec(model_type="gpt_neox"), "zh")
        == "引擎 native 不支持这种架构：没有模型类型“gpt_neox”的结构描述"
    )


def test_a_refusal_lists_all_features() -> None:
    assert BACKENDS["native"].refusal(_spec(model_type="olmo2")) == (
        "the engine native does not support QK-norm over all heads together and norms after attention and MLP "
        "instead of before"
    )


def test_a_backend_supports_a_twist_once_it_says_so() -> None:
    spec = _spec(model_type="qwen3")
    assert Backend("a new engine", "新引擎", BACKENDS["native"].supported | {Feature.QK_NORM}).refusal(spec) is None


@pytest.fixture
def bidirectional(tiny_base: Path, tmp_path: Path) -> Path:
    family = Family(GemmaConfig, {"head_dim": 8, "use_bidirectional_attention": True})
    return make_base(tmp_path, tiny_base, family, spread=0.1)


def test_auto_says_why_transformers_serves(bidirectional: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="luthier"):
        assert select_engine(bidirectional, OPTIONS).name == "transformers"
    assert (
        f"{bidirectional.name} is served by the engine transformers: it runs every architecture, and the engine "
        "batched does not support bidirectional attention"
    ) in caplog.text


@pytest.mark.parametrize("name", BACKENDS)
def test_a_forced_engine_refuses_by_name(bidirectional: Path, name: str) -> None:
    options = EngineOptions(device="cpu", precision="float32", engine=name)
    error = rf"the engine {name} does not support .*bidirectional attention.*\. Start with --engine transformers"
    with pytest.raises(BaseModelError, match=error):
        build_engine(bidirectional, options)
