"""`python -m luthier.catalogue.convert MODEL.gguf FOLDER`: GGUF to bfloat16 safetensors, with the tokenizer.

transformers loads a small GGUF model in some 15 seconds, safetensors in 0.2.
"""

import argparse
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

_SINGLE_DIGIT_TOKENIZERS = ("smollm",)  # values of `tokenizer.ggml.pre`


def convert(source: Path, target: Path) -> None:
    """Raises ValueError if the GGUF file lacks weights of its architecture."""
    file = {"gguf_file": source.name}
    model, loading = AutoModelForCausalLM.from_pretrained(
        source.parent,
        **file,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        output_loading_info=True,
    )
    missing = loading["missing_keys"]
    if missing:  # they would be initialised at random
        raise ValueError(f"it lacks {len(missing)} weights, such as {min(missing)}")
    model.config.name_or_path = source.stem
    model.save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(source.parent, **file).save_pretrained(target)
    if _pre_tokenizer(source) in _SINGLE_DIGIT_TOKENIZERS:
        _split_digits(target / "tokenizer.json")


def _pre_tokenizer(source: Path) -> str:
    """llama.cpp's name of the pre-tokenizer."""
    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    return str(field.contents()) if field else ""


def _split_digits(path: Path) -> None:
    """Adds the pre-tokenizer that splits digits: GGUF only names it, and transformers' reader drops it."""
    tokenizer = Tokenizer.from_file(str(path))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, tokenizer.pre_tokenizer])
    tokenizer.save(str(path))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target)
