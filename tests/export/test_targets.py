"""What --to accepts, and what it says otherwise."""

import pytest

from luthier.export.targets import Target, parse_target
from luthier.types.errors import ExportError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("peft", Target("peft")),
        ("GGUF:Q8_0, f16,q8_0", Target("gguf", ("q8_0", "f16"))),
        ("gguf", Target("gguf", ("q8_0",))),
        ("ollama:q4_0", Target("ollama", ("q4_0",))),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("onnx", "peft, merged, gguf"),
        ("merged:f16", "takes no types"),
        ("gguf:q4_k_m", "llama-quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M"),
        ("gguf:iq2_xs", "llama-quantize"),
        ("gguf:int4", "f32, f16, bf16, q8_0, q5_1, q5_0, q4_0"),
        ("ollama:f16,q8_0", "one type"),
    ],
)
def test_refusals_name_the_remedy(text: str, part: str) -> None:
    with pytest.raises(ExportError, match=part):
        parse_target(text)
