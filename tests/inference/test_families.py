"""Each family on a tiny random model: the engine that `auto` picks answers as transformers does."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from luthier.inference import Generation, Sampling
from luthier.inference.batched.engine import BatchedEngine
from luthier.inference.pool import EngineOptions, start_engine
from luthier.inference.transformers_engine import TransformersEngine

OPTIONS = EngineOptions(device="cpu", precision="float32")
PROMPT = [index % 200 for index in range(0, 900, 7)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
FAMILIES: list[tuple[type, dict[str, Any], type]] = [
    (LlamaConfig, {"rope_parameters": LLAMA3}, BatchedEngine),
    (LlamaConfig, {"head_dim": 16, "tie_word_embeddings": False}, BatchedEngine),
    (MistralConfig, {"sliding_window": None}, BatchedEngine),
    (MistralConfig, {"sliding_window": 64}, TransformersEngine),
    (Qwen2Config, {}, BatchedEngine),
    (Qwen3Config, {}, TransformersEngine),
    (GemmaConfig, {"head_dim": 8}, TransformersEngine),
    (Phi3Config, {}, TransformersEngine),
]


@pytest.mark.parametrize(("config", "more", "engine"), FAMILIES)
def test_answers_are_those_of_transformers(
    tiny_base: Path, tmp_path: Path, config: type, more: dict[str, Any], engine: type
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
    picked = start_engine(base, OPTIONS)
    assert type(picked) is engine
    greedy = Sampling(max_tokens=20, stop_ids=frozenset(), temperature=0.0)
    answer = [token.id for token in picked.submit(Generation(PROMPT, greedy))]
    picked.close()
    text = torch.tensor([PROMPT])
    wanted = model.eval().generate(
        text, attention_mask=torch.ones_like(text), max_new_tokens=20, do_sample=False, eos_token_id=None
    )
    assert answer == wanted[0, len(PROMPT) :].tolist()
    assert len(set(answer)) > 3  # else any engine would do
