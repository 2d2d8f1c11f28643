"""How a tokenizer cuts text, by llama.cpp's name of the pattern; one that llama.cpp does not know is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from export.installation import BASE_ID, Installation
from luthier.export.folders import TargetWriter
from luthier.export.gguf_files.vocabulary import _LLAMA3, _QWEN2, _TEKKEN, pattern_name
from luthier.export.targets import parse_target
from luthier.types.errors import ExportError

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


def tokenizer(*parts: dict[str, Any], model: str = "BPE") -> dict[str, Any]:
    pre = parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": list(parts)}
    return {"model": {"type": model}, "pre_tokenizer": pre}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (tokenizer(BYTES), "gpt-2"),
        (tokenizer({"type": "Digits", "individual_digits": True}, BYTES), "smollm"),
        (tokenizer(split(_LLAMA3), BYTES), "llama-bpe"),
        (tokenizer(split(_QWEN2), BYTES), "qwen2"),
        (tokenizer(split(_TEKKEN), BYTES), "tekken"),
    ],
)
def test_known_patterns(document: dict[str, Any], name: str) -> None:
    assert pattern_name(document, "base") == name


@pytest.mark.parametrize(
    "document",
    [
        tokenizer({"type": "Metaspace", "replacement": "_"}),
        tokenizer(BYTES, model="Unigram"),
        tokenizer({"type": "Digits", "individual_digits": False}, BYTES),
        tokenizer({**BYTES, "add_prefix_space": True}),
        tokenizer(split(r"\\p{N}{1,2}"), BYTES),
        {"model": {"type": "BPE"}, "pre_tokenizer": None},
    ],
)
def test_others_are_refused_with_a_remedy(document: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match=r"tokenizer of mine.*convert_hf_to_gguf\.py"):
        pattern_name(document, "mine")


def test_the_file_has_tokens_template_and_ends(installation: Installation, tmp_path: Path) -> None:
    source = installation.source
    TargetWriter(source, parse_target("gguf:q8_0"), BASE_ID).write(tmp_path)
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "model-q8_0.gguf").fields.items()}
    vocabulary = json.loads((source.base / "tokenizer.json").read_text())
    added = {token["id"]: token["content"] for token in vocabulary["added_tokens"]}
    tokens = fields["tokenizer.ggml.tokens"]
    assert {number: tokens[number] for number in added} == added
    assert len(tokens) == source.decoder.vocab_size
    assert fields["tokenizer.chat_template"] == source.template.read_text()
    assert fields["tokenizer.ggml.eos_token_id"] in source.renderer.stop_ids
    assert fields["tokenizer.ggml.add_bos_token"] is False
