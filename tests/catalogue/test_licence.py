"""Licences as the files of a model state them."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from luthier.catalogue.gguf_header import read_header
from luthier.catalogue.licence import licence_of


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: zh\nlicense: apache-2.0\n---\n# Model\n", "apache-2.0"),
        ('---\nlicense: other\nlicense_name: "qwen-research"\n---\n', "qwen-research"),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit"),
        ("# Model\n\nlicense: mit\n", ""),
        ("---\nlanguage: zh\n---\nlicense: mit\n", ""),
        ("", ""),
    ],
)
def test_a_cards_front_matter_states_it(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_of(tmp_path) == licence


def test_a_folder_without_a_card_states_none(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == ""


@pytest.mark.parametrize("licence", ["apache-2.0", ""])
def test_a_gguf_states_it_in_its_metadata(tmp_path: Path, licence: str) -> None:
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    if licence:
        writer.add_license(licence)
    writer.add_tensor("token_embd.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(tmp_path / "model.gguf").licence == licence
