"""The fused training path against transformers and PEFT with the same weights."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.data.rendering.renderer import Rendered
from luthier.training.compute_device import ComputeDevice
from luthier.training.job_spec import JobSpec
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.lora import fused_decoder
from luthier.training.lora.adapter import adapted_layers
from luthier.training.model import load_model, trainable_parameters
from luthier.types.errors import JobError
from training.test_logprobs import CPU, _assert_same, _examples, _loss_and_gradients

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
FAMILY = {
    "llama": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "head_dim": 12},
    "mistral": {"sliding_window": 32},
    "qwen2": {"use_sliding_window": False, "tie_word_embeddings": True},
    "qwen3": {"head_dim": 12, "attention_bias": True},
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "sliding_window": 32, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 8, "sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {"pad_token_id": 0, "partial_rotary_factor": 0.5, "sliding_window": None},
    "smollm3": {"pad_token_id": 0, "no_rope_layers": [1, 0]},
    "granite": {
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.6,
        "logits_scaling": 3.0,
    },
    "granitemoehybrid": {
        "attention_multiplier": 0.2,
        "layer_types": ["full_attention"] * 2,
        "num_local_experts": 0,
        "shared_intermediate_size": 40,
        "position_embedding_type": "rope",
        "mamba_n_heads": 8,
    },
    "olmo2": {},
    "seed_oss": {"head_dim": 8, "pad_token_id": 0},
}


def _load(
    folder: Path, kind: str, precision: str = "float32", targets: str = "all-linear", tuning: str = "lora", **more
):
    torch.manual_seed(4)
    config = AutoConfig.for_model(kind, **SIZES, **FAMILY.get(kind, {}), **more)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:  # biases and norms are otherwise zeros and ones
            parameter.data += torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder / kind)
    options = {"precision": precision, "device": "cpu", "lora_targets": targets, "tuning": tuning}
    spec = JobSpec(base=str(folder / kind), base_name=kind, seed=5, **options)
    tuned = load_model(spec, ComputeDevice.select("cpu", precision))
    for name, parameter in trainable_parameters(tuned).items():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return tuned


def _family() -> list[Rendered]:
    first, second, *rest = _examples(60, 90, 7, 33)
    return [first, second, *rest, Rendered(first.ids[:45] + second.ids, [*first.weights[:45], *second.weights])]


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        *((kind, "all-linear") for kind in FAMILY),
        ("gemma3_text", "gate_proj,v_proj"),
        ("phi3", "qkv_proj"),
        *(("qwen2", targets) for targets in ("mlp", "attention", "k_proj,up_proj")),
    ],
)
def test_losses_and_gradients_are_those_of_transformers(tmp_path: Path, kind: str, targets: str) -> None:
    tuned = _load(tmp_path, kind, targets=targets)
    assert tuned.luthier_fused is not None
    batch = pack(_family(), CPU)
    with torch.no_grad(), tuned.disable_adapter():
        without = log_probabilities(tuned, batch)[0]
    fast = _loss_and_gradients(tuned, [_family()])
    tuned.luthier_fused = None
    _assert_same(fast, _loss_and_gradients(tuned, [_family()]))
    with torch.no_grad(), tuned.disable_adapter():
        assert torch.allclose(without, log_probabilities(tuned, batch)[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(without, log_probabilities(tuned, batch)[0], atol=1e-2)


@pytest.mark.parametrize("kind", FAMILY)
def test_all_weights_have_the_gradients_of_transformers(tmp_path: Path, kind: str) -> None:
    tuned = _load(tmp_path, kind, tuning="full")
    fast = _loss_and_gradients(tuned, [_family()])
    tuned.luthier_fused.gradient_checkpointing = True
    _assert_same(fast, _loss_and_gradients(tuned, [_family()]))
    tuned.luthier_fused = None
    _assert_same(fast, _loss_and_gradients(tuned, [_family()]))


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_bfloat16_is_as_close_to_float32_as_in_transformers(tmp_path: Path, tuning: str) -> None:
    exact = _loss_and_gradients(_load(tmp_path / "a", "llama", tuning=tuning), [_family()])
    tuned = _load(tmp_path / "b", "llama", "bfloat16", tuning=tuning)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = _loss_and_gradients(tuned, [_family()])
        tuned.luthier_fused = None
        plain = _loss_and_gradients(tuned, [_family()])

    def distance(result) -> float:
        return sum((result[1][name].float() - exact[1][name]).norm() / exact[1][name].norm() for name in exact[1])

    assert fast[0] == pytest.approx(exact[0], rel=1e-2)
    assert distance(fast) < 1.2 * distance(plain)


@pytest.mark.parametrize(
    ("kind", "more"), [("cohere", {"pad_token_id": 0, "logit_scale": 1.0}), ("phi", {"pad_token_id": 0})]
)
def test_unsupported_models_train_through_transformers(tmp_path: Path, kind: str, more: dict) -> None:
    tuned = _load(tmp_path, kind, **more)
    assert fused_decoder.fuse(tuned) is None
    together = _loss_and_gradients(tuned, [_family()])
    _assert_same(together, _loss_and_gradients(tuned, [[example] for example in _family()]))


def test_no_adapter_is_attached_to_experts() -> None:
    config = AutoConfig.for_model("mixtral")
    assert adapted_layers(config, "all-linear") == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert adapted_layers(AutoConfig.for_model("qwen2"), "all-linear") == "all-linear"
    with pytest.raises(JobError, match="cannot be attached to 'w1', 'w2' of a mixture of experts"):
        adapted_layers(config, ["q_proj", "w2", "w1"])
