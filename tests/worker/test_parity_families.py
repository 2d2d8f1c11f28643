"""Each family on a tiny random model: trained for some steps, then served, and both say the same."""

import shutil
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

from luthier.inference.pool import EngineOptions, start_engine
from luthier.types.errors import LuthierError
from luthier.worker.parity import check
from training.jobs import EXAMPLES, train, write_job

FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (LlamaConfig, {}),
    "mistral": (MistralConfig, {"sliding_window": 4096}),
    "qwen2": (Qwen2Config, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gemma": (GemmaConfig, {"head_dim": 8}),
    "gemma3": (Gemma3TextConfig, {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 512}),
    "phi3": (Phi3Config, {"sliding_window": None}),
    "smollm3": (SmolLM3Config, {"no_rope_layers": [1, 0]}),
}
REFUSED: dict[str, tuple[type, dict[str, Any], str]] = {
    "mistral with a short window": (MistralConfig, {"sliding_window": 16}, "sliding window of 16 tokens, shorter"),
    "gemma2": (Gemma2Config, {"head_dim": 8}, "final_logit_softcapping"),
    "gemma2 with soft caps in attention": (Gemma2Config, {"head_dim": 8, "final_logit_softcapping": None}, "soft caps"),
}


def make(folder: Path, tiny_base: Path, config: type, more: dict[str, Any]) -> Path:
    torch.manual_seed(1)
    made = config(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
        **more,
    )
    base = shutil.copytree(tiny_base, folder / "base")
    model = AutoModelForCausalLM.from_config(made)
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases and norms are otherwise zeros and ones
            parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(base)
    return base


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_trained_is_what_is_served(tiny_base: Path, tmp_path: Path, family: str) -> None:
    base = make(tmp_path, tiny_base, *FAMILIES[family])
    folder = write_job(tmp_path / "job", base, valid=2, n_epochs=2, batch_size=5, learning_rate_multiplier=5)
    events = train(folder)
    losses = [event["metrics"]["train_loss"] for event in events if event["type"] == "metrics"]
    assert losses[-1] < losses[0]
    (last,) = [event["folder"] for event in events if event["type"] == "checkpoint"][-1:]
    engine = start_engine(base, EngineOptions(device="cpu", precision="float32"))
    said = check(lambda: engine, folder / "checkpoints" / last, "float32")
    engine.close()
    assert float(said.split("mean difference ")[1].split()[0]) < 1e-3


@pytest.mark.parametrize("family", REFUSED)
def test_what_training_does_not_know_is_refused_by_name(tiny_base: Path, tmp_path: Path, family: str) -> None:
    config, more, what = REFUSED[family]
    base = make(tmp_path, tiny_base, config, more)
    with pytest.raises(LuthierError, match=what):
        train(write_job(tmp_path / "job", base, EXAMPLES))
