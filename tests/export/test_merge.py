"""What leaves holds the weights that were trained: PEFT, merged and GGUF files are read back and compared."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from export.installation import BASE_ID, Installation
from luthier.export.adapter import Adapter
from luthier.export.folders import TargetWriter
from luthier.export.gguf_files.architecture import Architecture
from luthier.export.merge import MergedWeights
from luthier.export.targets import parse_target
from luthier.types.errors import ExportError

IDS = torch.arange(40)[None]
# Of the largest value.
MAX_ERROR = {
    "f32": 0,
    "f16": 1e-3,
    "bf16": 8e-3,
    "q8_0": 1e-2,
    "q5_1": 7e-2,
    "q5_0": 7e-2,
    "q4_0": 1.5e-1,
}


@pytest.fixture
def write(installation: Installation, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a target without verifying it."""

    def write_target(target: str) -> Path:
        TargetWriter(installation.source, parse_target(target), BASE_ID).write(tmp_path)
        return tmp_path

    return write_target


def trained_logits(installation: Installation) -> torch.Tensor:
    base = AutoModelForCausalLM.from_pretrained(installation.source.base)
    return PeftModel.from_pretrained(base, installation.source.folder)(IDS).logits


def test_peft_loads_with_equal_logits(installation: Installation, write: Callable[[str], Path]) -> None:
    folder = write("peft")
    base = AutoModelForCausalLM.from_pretrained(installation.source.base)
    assert torch.equal(PeftModel.from_pretrained(base, folder)(IDS).logits, trained_logits(installation))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE_ID
    assert str(installation.source.base.parent) not in "".join(
        path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".jinja")
    )


def test_merged_equals_the_adapter(installation: Installation, write: Callable[[str], Path]) -> None:
    folder = write("merged")
    logits = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    torch.testing.assert_close(logits, trained_logits(installation), atol=1e-3, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == installation.source.template.read_text()


def test_gguf_holds_every_tensor(installation: Installation, write: Callable[[str], Path]) -> None:
    folder = write(f"gguf:{','.join(MAX_ERROR)}")
    source = installation.source
    architecture = Architecture.of(source.base, source.decoder)
    expected = {
        architecture.tensor_name(name): architecture.reordered(name, tensor).float().numpy()
        for name, tensor, _ in source.weights
    }
    for quantization, limit in MAX_ERROR.items():
        tensors = GGUFReader(folder / f"model-{quantization}.gguf").tensors
        assert {tensor.name for tensor in tensors} == set(expected)
        for tensor in tensors:
            weights = dequantize(tensor.data, tensor.tensor_type).reshape(expected[tensor.name].shape)
            assert np.abs(weights - expected[tensor.name]).max() <= limit * np.abs(expected[tensor.name]).max()


def test_rows_of_q_and_k_are_reordered(installation: Installation) -> None:
    """llama.cpp rotates neighbours, transformers halves: row i of a half comes to place 2 i or 2 i + 1 of its head."""
    source = installation.source
    architecture = Architecture.of(source.base, source.decoder)
    heads, size = source.decoder.heads, source.decoder.head_dim
    rows = torch.arange(heads * size)
    moved = architecture.reordered("model.layers.0.self_attn.q_proj.weight", rows).reshape(heads, size)
    assert moved[1].tolist() == [size + place for index in range(size // 2) for place in (index, index + size // 2)]
    assert torch.equal(architecture.reordered("model.layers.0.self_attn.v_proj.weight", rows), rows)


def damaged(folder: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    target.mkdir()
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, target / "adapter_model.safetensors")
    (target / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    return target


def _zero(tensors: dict[str, torch.Tensor]) -> None:
    for name in tensors:
        tensors[name] = torch.zeros_like(tensors[name]) if "lora_B" in name else tensors[name]


def _infinite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[next(iter(tensors))].fill_(torch.inf)


def _further(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.lm_head.weight"] = torch.ones(2, 2)


@pytest.mark.parametrize(("change", "part"), [(_zero, "empty"), (_infinite, "damaged"), (_further, "lm_head.weight")])
def test_adapters_that_hold_something_else(
    installation: Installation, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], part: str
) -> None:
    with pytest.raises(ExportError, match=part):
        Adapter(damaged(installation.source.folder, tmp_path / "adapter", change))


def test_an_adapter_of_another_base(installation: Installation, tmp_path: Path) -> None:
    def widen(tensors: dict[str, torch.Tensor]) -> None:
        name = next(name for name in tensors if name.endswith("q_proj.lora_A.weight"))
        tensors[name] = torch.ones(tensors[name].shape[0], tensors[name].shape[1] + 1)

    adapter = Adapter(damaged(installation.source.folder, tmp_path / "adapter", widen))
    with pytest.raises(ExportError, match="another base model"):
        MergedWeights(installation.source.base, adapter)
