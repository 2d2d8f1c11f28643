"""Texts are cut before special tokens and cached, and their ids are those of the whole text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from luthier.data.rendering.text_encoder import _CACHED_CHARACTERS, _MAX_CACHED, TextEncoder
from property_examples import example_count

LONG = "word " * _CACHED_CHARACTERS


def prepending(scheme: str, **flags: bool) -> Tokenizer:
    """Like those of Llama 2 and Mistral: a space is written before the text."""
    letters = ["▁", *map(chr, range(32, 127)), "<unk>", "债", "\n"]
    tokenizer = Tokenizer(
        models.BPE(vocab={char: index for index, char in enumerate(letters)}, merges=[], unk_token="<unk>")
    )
    if scheme == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.add_special_tokens([AddedToken(text, special=True, **flags) for text in ("<s>", "</s>", "<s>s", "x<s")])
    return tokenizer


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_base: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_base / "tokenizer.json"))


TOKENIZERS = {name: prepending(name) for name in ("normalizer", "first", "always", "never")}
TOKENIZERS["strips"] = prepending("first", lstrip=True)
pieces = st.lists(st.sampled_from(["<s>", "</s>", "<s>s", "x<s", "a", " b", "  ", "债", "\n", "<", LONG]), max_size=10)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=example_count(25))
@given(texts=st.lists(pieces.map("".join), max_size=4))
def test_ids_are_those_of_the_whole_text(name: str, texts: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    encoder = TextEncoder(tokenizer)
    whole = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert [encoder.encode(text) for text in texts] == whole
    assert encoder.encode_all(texts) == whole


def test_a_shared_part_is_encoded_once(tiny_tokenizer: Tokenizer) -> None:
    encoder = TextEncoder(tiny_tokenizer)
    encoder.encode_all([f"<|im_start|>{LONG}<|im_end|>{number}" for number in range(200)])
    assert list(encoder._cache) == ["<|im_start|>" + LONG]
    for number in range(2 * _MAX_CACHED):
        encoder.encode(f"{number}{LONG}")
    assert len(encoder._cache) == _MAX_CACHED
