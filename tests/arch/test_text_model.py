"""Checkpoints with a vision tower: their text model is trained and served, or they are refused by name when pulled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForImageTextToText

from luthier.arch import DecoderSpec
from luthier.arch.model_config import load_config
from luthier.arch.text_model import load_causal_lm
from luthier.base_config import context_tokens
from luthier.catalogue.compatibility import check_folder
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine
from luthier.types.errors import BaseModelError
from luthier.weights import lora_targets, tensor_shapes
from luthier.worker.parity import check
from training.jobs import train, write_job

_TEXT = {
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 257,
    "initializer_range": 0.2,
}
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
CHECKPOINTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {  # class, text, vision, text class
    "gemma3": ("Gemma3Config", {"sliding_window": 512}, {"image_size": 28, "patch_size": 14}, "Gemma3ForCausalLM"),
    "qwen3.5": ("Qwen3_5Config", _DELTA, {"depth": 1, "num_heads": 2, "out_hidden_size": 32}, "Qwen3_5ForCausalLM"),
    "gemma4": (
        "Gemma4Config",
        {
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "global_head_dim": 8,
            "num_kv_shared_layers": 1,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 258,
        },
        {"num_key_value_heads": 2, "head_dim": 8},
        "Gemma4ForCausalLM",
    ),
    "mistral3": ("Mistral3Config", {"model_type": "mistral"}, {"model_type": "pixtral"}, "MistralForCausalLM"),
    "lfm2-vl": ("Lfm2VlConfig", {"layer_types": ["conv", "full_attention"]}, {}, "Lfm2ForCausalLM"),
}


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path, tiny_base: Path) -> tuple[Path, torch.nn.Module, str]:
    """A folder as its maker would save it, the model of all its towers, and the class of its text model."""
    config_class, text, vision, text_class = CHECKPOINTS[request.param]
    torch.manual_seed(1)
    towers = {"vision_config": {**_VISION, **vision}, **({"audio_config": None} if request.param == "gemma4" else {})}
    config = getattr(transformers, config_class)(text_config={**_TEXT, **text}, **towers)
    model = AutoModelForImageTextToText.from_config(config).eval()
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    model.save_pretrained(folder)
    return folder, model, text_class


def test_the_text_model_alone_computes_the_same(checkpoint: tuple[Path, torch.nn.Module, str]) -> None:
    folder, model, text_class = checkpoint
    assert check_folder(folder, "base") == text_class
    assert context_tokens(folder) == 512
    text = load_causal_lm(folder, load_config(folder), dtype=torch.float32).eval()
    assert type(text).__name__ == text_class
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.allclose(text(ids).logits, model(input_ids=ids).logits, atol=1e-5)
    assert not any("vision" in name or "visual" in name for name in tensor_shapes(folder))
    assert "gate_proj" in lora_targets(folder, "mlp") or text_class == "Lfm2ForCausalLM"


def test_it_is_trained_and_served(checkpoint: tuple[Path, torch.nn.Module, str], tmp_path: Path) -> None:
    folder, *_ = checkpoint
    events = train(write_job(tmp_path / "job", folder, n_epochs=1, batch_size=6))
    (last,) = [event["folder"] for event in events if event["type"] == "checkpoint"]
    engine = build_engine(folder, EngineOptions(device="cpu", precision="float32"))
    report = check(lambda: engine, tmp_path / "job" / "checkpoints" / last, "float32")
    engine.close()
    assert report.mean_difference < 1e-3


def test_one_whose_text_model_has_no_class_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    for model_type in ("qwen3_vl", "of_the_future"):
        config = {"model_type": model_type, "text_config": {"hidden_size": 32}}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(BaseModelError, match=f"'{model_type}'.*cannot load the text model alone"):
            check_folder(folder, "base")


def test_a_model_without_a_cache_of_attention_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba2"}))
    with pytest.raises(BaseModelError, match="is a Mamba2ForCausalLM, and no engine here can keep its state"):
        check_folder(folder, "base")


def test_weights_that_are_missing_are_named(tmp_path: Path, tiny_base: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(BaseModelError, match=r"lacks 9 weights of a LlamaForCausalLM, such as model\.layers\.2\."):
        load_causal_lm(folder, load_config(folder))


def test_a_description_is_that_of_the_text_model(tmp_path: Path, tiny_base: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    alone = DecoderSpec.from_folder(folder)
    text = json.loads((folder / "config.json").read_text())
    config = {"model_type": "mistral3", "text_config": text, "tie_word_embeddings": text["tie_word_embeddings"]}
    (folder / "config.json").write_text(json.dumps(config))
    assert DecoderSpec.from_folder(folder) == alone
    assert load_config(folder).tie_word_embeddings is True  # the folder has no output layer of its own
