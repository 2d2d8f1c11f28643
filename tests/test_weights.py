"""Which layers a base model has, from its files alone."""

from pathlib import Path

import pytest

from luthier.types import job_options
from luthier.types.errors import BaseModelError, JobError
from luthier.weights import count_parameters, lora_targets


def test_layers_are_named_and_counted(tiny_base: Path) -> None:
    assert set(lora_targets(tiny_base, "attention")) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert set(lora_targets(tiny_base, "mlp")) == {"gate_proj", "up_proj", "down_proj"}
    assert lora_targets(tiny_base, "v_proj,down_proj") == ["v_proj", "down_proj"]
    assert lora_targets(tiny_base, "all-linear") == "all-linear"
    width, vocabulary = 32, 258
    layer = 2 * width + 2 * width**2 + 2 * width * width // 2 + 3 * width * 2 * width
    assert count_parameters(tiny_base) == vocabulary * width + 2 * layer + width


@pytest.mark.parametrize("asked", ["q_proj,c_attn", "embed_tokens", "attn", "input_layernorm"])
def test_layers_that_are_not_there_are_refused_with_those_that_are(tiny_base: Path, asked: str) -> None:
    with pytest.raises(
        JobError, match=r"has no layers named .* It has attention: .*q_proj.*; mlp: .*up_proj"
    ) as caught:
        lora_targets(tiny_base, asked)
    assert caught.value.code == "invalid_targets"


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="no weights"):
        count_parameters(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BaseModelError, match="cannot be read"):
        count_parameters(tmp_path)


def test_options_are_read_once_and_in_order() -> None:
    body = job_options.parse({"luthier:targets": " v_proj,q_proj, v_proj", "luthier:rank": "4", "team": "a"})
    assert (body.targets, body.rank, body.alpha, body.tuning) == ("v_proj,q_proj", 4, None, "lora")
    assert job_options.parse(None) == job_options.JobOptions()
