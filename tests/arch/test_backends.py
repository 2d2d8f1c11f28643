"""What each backend supports, and how it refuses the rest by the feature's name."""

import logging
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from families import FAMILIES, make_base
from luthier.arch import Backend, DecoderSpec, Feature, Unsupported
from luthier.inference.options import EngineOptions
from luthier.inference.registry import BACKENDS, build_engine, select_engine
from luthier.training.lora import llama
from luthier.types.errors import BaseModelError

OPTIONS = EngineOptions(device="cpu", precision="float32")
ENGINES = {Feature.GROUPED_QUERY_HEADS, Feature.HEAD_DIM, Feature.QKV_BIAS, Feature.LINEAR_ROPE, Feature.LLAMA3_ROPE}


def _spec(**config: Any) -> DecoderSpec | Unsupported:
    return DecoderSpec.from_config(AutoConfig.for_model(**config))


def test_supported_features() -> None:
    for backend in BACKENDS.values():
        assert backend.supported == ENGINES | {Feature.TIED_EMBEDDINGS}
    rope = {Feature.DYNAMIC_ROPE, Feature.YARN_ROPE, Feature.LONGROPE}
    assert llama.BACKEND.supported == ENGINES | {Feature.TIED_EMBEDDINGS} | rope


@pytest.mark.parametrize("name", BACKENDS)
def test_a_refusal_names_the_features(name: str) -> None:
    backend = BACKENDS[name]
    assert backend.refusal(_spec(model_type="llama")) is None
    assert backend.refusal(_spec(model_type="qwen3")) == f"the engine {name} does not support QK-norm"
    assert (
        backend.refusal(_spec(model_type="mistral")) == f"the engine {name} does not support sliding-window attention"
    )
    assert backend.refusal(_spec(model_type="olmo2")) == (
        f"the engine {name} does not support QK-norm over all heads together and norms after attention and MLP instead "
        "of before"
    )
    assert backend.refusal(_spec(model_type="gpt_neox")) == (
        f"the engine {name} does not support this architecture: the model type 'gpt_neox' is not described"
    )


def test_a_backend_supports_a_twist_once_it_says_so() -> None:
    spec = _spec(model_type="qwen3")
    assert Backend("a new engine", BACKENDS["native"].supported | {Feature.QK_NORM}).refusal(spec) is None


@pytest.fixture
def qwen3(tiny_base: Path, tmp_path: Path) -> Path:
    return make_base(tmp_path, tiny_base, FAMILIES["qwen3"], spread=0.1)


def test_auto_says_why_transformers_serves(qwen3: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="luthier"):
        assert select_engine(qwen3, OPTIONS).name == "transformers"
    assert (
        f"{qwen3.name} is served by the engine transformers: it runs every architecture, and the engine batched does "
        "not support QK-norm"
    ) in caplog.text


@pytest.mark.parametrize("name", BACKENDS)
def test_a_forced_engine_refuses_by_name(qwen3: Path, name: str) -> None:
    options = EngineOptions(device="cpu", precision="float32", engine=name)
    with pytest.raises(BaseModelError, match=rf"the engine {name} does not support QK-norm\. Start with --engine tr"):
        build_engine(qwen3, options)
