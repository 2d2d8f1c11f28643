"""`python -m luthier.catalogue.convert MODEL.gguf FOLDER`: a GGUF file as bfloat16 safetensors with its tokenizer.

Reading GGUF takes transformers some 15 seconds for a small model, reading safetensors a fifth of one.
"""

import argparse
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

_DIGITS_ONE_BY_ONE = ("smollm",)  # values of `tokenizer.ggml.pre`


def convert(source: Path, target: Path) -> None:
    file = {"gguf_file": source.name}
    model, found = AutoModelForCausalLM.from_pretrained(
        source.parent,
        **file,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        output_loading_info=True,
    )
    if found["missing_keys"]:  # they would be random numbers
        raise ValueError(f"it lacks {len(found['missing_keys'])} weights, such as {min(found['missing_keys'])}")
    model.config.name_or_path = source.stem
    model.save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(source.parent, **file).save_pretrained(target)
    if _splitting(source) in _DIGITS_ONE_BY_ONE:
        _split_digits(target / "tokenizer.json")


def _splitting(source: Path) -> str:
    """How the tokenizer cuts text before all else, by llama.cpp's name for it."""
    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    return str(field.contents()) if field else ""


def _split_digits(path: Path) -> None:
    """GGUF only names this rule and the reader drops it; without it "a  1" is cut otherwise than the model learnt."""
    tokenizer = Tokenizer.from_file(str(path))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, tokenizer.pre_tokenizer])
    tokenizer.save(str(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    convert(given.source, given.target)
