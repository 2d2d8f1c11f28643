"""Embedding models, as their folders describe them, against transformers."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_embedding_model
from luthier.types.errors import BaseModelError
from server.serving import bare_server

OPTIONS = EngineOptions(device="cpu", precision="float32")
TEXTS = ["abc", "a longer text", "z", "abc"]


def make_encoder(folder: Path, *modes: str, steps: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")) -> Path:
    """A random BERT with a token per letter, as sentence-transformers saves one."""
    folder.mkdir()
    vocabulary = {
        char: at for at, char in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", " ", *map(chr, range(97, 123))])
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(5)  # as many folders have it; a text that is too long must be refused, not truncated
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    (folder / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.models.{step}"} for step in steps])
    )
    (folder / "1_Pooling").mkdir()
    pooling: dict[str, Any] = {"word_embedding_dimension": 16, "pooling_mode_max_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling | dict.fromkeys(modes, True)))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    return folder


@pytest.mark.parametrize(
    ("modes", "pool"),
    [
        (["pooling_mode_cls_token"], lambda hidden: hidden[0]),
        (["pooling_mode_mean_tokens"], lambda hidden: hidden.mean(0)),
        (["pooling_mode_lasttoken"], lambda hidden: hidden[-1]),
        ([], lambda hidden: hidden.mean(0)),
    ],
)
def test_vectors_are_those_of_transformers(tmp_path: Path, modes: list[str], pool: Any) -> None:
    """Alone or together with others: padding changes nothing."""
    folder = make_encoder(tmp_path / "bert", *modes)
    encoder = build_embedding_model(folder, OPTIONS)
    model = BertModel.from_pretrained(folder).eval()
    prompts = [encoder.text(text) for text in TEXTS]
    vectors = torch.tensor(encoder.embed(prompts, None).result(300))
    for ids, vector in zip(prompts, vectors, strict=True):
        assert (ids[0], ids[-1]) == (1, 2)
        with torch.inference_mode():
            expected = pool(model(torch.tensor([ids])).last_hidden_state[0])
        torch.testing.assert_close(vector, expected / expected.norm(), atol=1e-5, rtol=1e-4)
    assert encoder.context_tokens == 32
    assert len(encoder.text("a" * 50)) == 52
    encoder.close()


def test_unsupported_modules_and_poolings_are_refused(tmp_path: Path) -> None:
    folders = [
        make_encoder(tmp_path / "max", "pooling_mode_max_tokens"),
        make_encoder(tmp_path / "two", "pooling_mode_cls_token", "pooling_mode_mean_tokens"),
        make_encoder(tmp_path / "dense", steps=("Transformer", "Pooling", "Dense")),
        tmp_path / "none",
    ]
    for folder in folders:
        with pytest.raises(BaseModelError, match=f"The embedding model {folder.name} cannot be loaded"):
            build_embedding_model(folder, OPTIONS)


def test_behind_the_names_of_openais_embedding_models(tmp_path: Path, tiny_base: Path) -> None:
    folder = make_encoder(tmp_path / "bert", "pooling_mode_cls_token")
    with bare_server(tmp_path / "data", tiny_base, embedding_model=folder) as place:
        client = place.client()
        response = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
        assert [len(entry.embedding) for entry in response.data] == [16] * 4
        assert response.usage.prompt_tokens == sum(len(text) + 2 for text in TEXTS)
        assert response.data[0].embedding == pytest.approx(response.data[3].embedding, abs=1e-5)
        assert len(client.embeddings.create(model="gpt-4o-mini", input="a").data[0].embedding) == 32
        with pytest.raises(openai.BadRequestError, match="maximum context length is 32 tokens"):
            client.embeddings.create(model="text-embedding-3-small", input="a" * 31)
