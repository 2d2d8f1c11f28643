"""llama.cpp and transformers agree on a real model with an adapter: 30 layers, grouped heads, 49,152 tokens."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from export.installation import Installation
from luthier.catalogue.bases import BaseOrigin
from luthier.data.rendering import parity_samples
from luthier.data.rendering.parity_samples import ParitySample
from luthier.export.folders import Artefact, TargetWriter
from luthier.export.gate import Gate
from luthier.export.runtimes import llama_cpp
from luthier.export.source import ExportSource
from luthier.export.targets import parse_target
from luthier.store import FineTunedModel

pytestmark = pytest.mark.slow
TEXT = "Take 25 of 100, then 好的, 2024年: it's <tool_call> done."


def _random_adapter(base: Path, folder: Path, ids: list[int]) -> None:
    """With the log-probabilities of transformers, in float32, with and without it."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    places = torch.arange(1, len(ids))

    @torch.no_grad()
    def logprobs() -> torch.Tensor:
        return model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)  # [targets, vocabulary]

    targets = torch.tensor(ids)[places, None]
    tuned = logprobs()
    with model.disable_adapter():
        base_only = logprobs().gather(-1, targets)[:, 0]
    likeliest = (tuned.argmax(-1) == targets[:, 0]).tolist()
    chosen = tuned.gather(-1, targets)[:, 0].tolist()
    model.save_pretrained(folder, save_embedding_layers=False)
    parity_samples.write(folder, [ParitySample(ids, places.tolist(), chosen, likeliest, base_only.tolist())])


@pytest.mark.skipif(llama_cpp.version() is None, reason="llama.cpp (xllamacpp) is not installed")
def test_llama_cpp_gives_the_log_probabilities_of_transformers(
    installation: Installation, real_base: Path, tmp_path: Path
) -> None:
    """From an f16 file: merged weights, order of q and k, tokenizer and template. Parts of characters are targets."""
    row = installation.source.model
    folder = tmp_path / "adapter"
    template = (real_base / "chat_template.jinja").read_text()
    model = FineTunedModel(
        row.id, row.job_id, row.project, "smollm2-135m-instruct", row.root, folder, False, None, row.created_at
    )
    source = ExportSource(model, installation.source.job, real_base, "smollm2", BaseOrigin("HuggingFaceTB/SmolLM2"))
    folder.mkdir()
    source.template.write_text(template)
    _random_adapter(real_base, folder, source.renderer.text(TEXT))
    (artefact,) = TargetWriter(source, parse_target("gguf:f16"), None).write(tmp_path)
    verification = Gate(source, installation.settings, tmp_path).verify(artefact)
    assert not verification.failure
    assert verification.report.mean_difference < 0.005
    assert artefact == Artefact("gguf", tmp_path / "model-f16.gguf", "f16")
