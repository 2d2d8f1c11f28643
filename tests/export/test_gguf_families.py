"""llama.cpp computes each architecture that is written as GGUF as transformers does: rotation, biases, norms, heads."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from families import FAMILIES, make_base
from luthier.catalogue.bases import BaseOrigin
from luthier.data.rendering.parity_samples import ParitySample
from luthier.export.gguf_files.model_file import ModelFile
from luthier.export.runtimes import llama_cpp
from luthier.export.source import ExportSource
from luthier.types.errors import ExportError

IDS = [30 + index * 7 % 200 for index in range(160)]
WRITTEN = ("llama", "llama with wide heads", "mistral", "qwen2", "qwen3")


def exported(folder: Path, tiny_base: Path, family: str) -> tuple[Path, Path]:
    """A model with random weights and its GGUF file, in float32."""
    base = make_base(folder / "base", tiny_base, FAMILIES[family], spread=0.2)
    model = SimpleNamespace(id=family, adapter=base, standalone=True)
    (base / "chat_template.jinja").write_text((tiny_base / "chat_template.jinja").read_text())
    file = folder / "model.gguf"
    ModelFile(ExportSource(model, None, base, family, BaseOrigin(None)), "f32").write(file)
    return base, file


@pytest.mark.skipif(llama_cpp.version() is None, reason="llama.cpp (xllamacpp) is not installed")
@pytest.mark.parametrize("family", WRITTEN)
def test_llama_cpp_computes_what_transformers_computes(family: str, tiny_base: Path, tmp_path: Path) -> None:
    """Beyond the original context of Llama 3's scaling, and in float32, where hardly anything is rounded."""
    base, file = exported(tmp_path, tiny_base, family)
    places = torch.arange(len(IDS) - 16, len(IDS))
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        logprobs = model(input_ids=torch.tensor([IDS])).logits[0].log_softmax(-1)
    expected = logprobs[places - 1].gather(-1, torch.tensor(IDS)[places, None])[:, 0]
    sample = ParitySample(IDS, places.tolist(), expected.tolist(), [False] * len(places))
    (scores,) = llama_cpp.ask(file, [sample]).scores
    assert abs(scores.logprobs - expected.numpy()).max() < 0.02


@pytest.mark.parametrize("family", ["gemma", "phi3", "smollm3", "mistral with a wide window"])
def test_what_llama_cpp_would_compute_otherwise_is_refused(family: str, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"No GGUF file can be written.*convert_hf_to_gguf\.py"):
        exported(tmp_path, tiny_base, family)
