"""Each family on a tiny random model: the engine that `auto` picks answers as transformers does."""

import shutil
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
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

from luthier.inference import Generation, Sampling
from luthier.inference.picking import pick
from luthier.inference.pool import EngineOptions, start_engine
from luthier.types.errors import BaseModelError

OPTIONS = EngineOptions(device="cpu", precision="float32")
FASTEST = "OpenVINOEngine" if find_spec("openvino") else "BatchedEngine"
PROMPT = [index % 200 for index in range(0, 900, 7)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
GEMMA3 = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64, "tie_word_embeddings": False}
FAMILIES: list[tuple[type, dict[str, Any], str]] = [
    (LlamaConfig, {"rope_parameters": LLAMA3}, "llama"),
    (LlamaConfig, {"head_dim": 16, "tie_word_embeddings": False}, "llama"),
    (MistralConfig, {"sliding_window": None}, "llama"),
    (MistralConfig, {"sliding_window": 64}, "transformers"),
    (Qwen2Config, {}, "llama"),
    (Qwen3Config, {}, "transformers"),
    (GemmaConfig, {"head_dim": 8}, "transformers"),
    (Gemma2Config, {"head_dim": 8, "sliding_window": 64, "tie_word_embeddings": False}, "transformers"),
    (Gemma3TextConfig, GEMMA3, "transformers"),
    (SmolLM3Config, {"no_rope_layers": [1, 0]}, "transformers"),
    (Phi3Config, {}, "transformers"),
]


@pytest.mark.parametrize(("config", "more", "family"), FAMILIES)
def test_answers_are_those_of_transformers(
    tiny_base: Path, tmp_path: Path, config: type, more: dict[str, Any], family: str
) -> None:
    torch.manual_seed(1)
    made = config(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
        **more,
    )
    base = shutil.copytree(tiny_base, tmp_path / "base")
    model = AutoModelForCausalLM.from_config(made)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.3)  # zero as they come: leaving them out would not show
    model.save_pretrained(base)
    text = torch.tensor([PROMPT])
    wanted = model.eval().generate(
        text, attention_mask=torch.ones_like(text), max_new_tokens=20, do_sample=False, eos_token_id=None
    )
    assert pick(base, OPTIONS).__name__ == {"llama": FASTEST, "transformers": "TransformersEngine"}[family]
    for name in ("auto", *(["batched"] if family == "llama" else [])):
        engine = start_engine(base, replace(OPTIONS, engine=name))
        greedy = Sampling(max_tokens=20, stop_ids=frozenset(), temperature=0.0)
        answer = [token.id for token in engine.submit(Generation(PROMPT, greedy))]
        engine.close()
        assert answer == wanted[0, len(PROMPT) :].tolist()
        assert len(set(answer)) > 3  # else any engine would do


def test_openvino_of_another_release_is_not_used(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paged attention may take other inputs; `auto` goes on without it, and who names it is told."""
    monkeypatch.setattr(metadata, "version", lambda _: "2027.1.0")
    assert pick(tiny_base, OPTIONS).__name__ == "BatchedEngine"
    with pytest.raises(BaseModelError, match=r"2027\.1\.0 is installed"):
        pick(tiny_base, replace(OPTIONS, engine="openvino"))
