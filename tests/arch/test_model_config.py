"""A model folder does not decide how it is computed, nor which other files are applied to it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.arch.model_config import load_config
from luthier.catalogue.compatibility import check_folder
from luthier.inference.engines.model_loading import load_model
from luthier.types.errors import BaseModelError


def _with_config(base: Path, folder: Path, **values: Any) -> Path:
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
def test_a_kernel_that_a_config_names_is_not_looked_up(tiny_base: Path, tmp_path: Path, key: str) -> None:
    folder = _with_config(tiny_base, tmp_path / "base", **{key: "organisation/kernel"})
    model = load_model(AutoModelForCausalLM, folder, torch.float32)
    assert model.config._attn_implementation in ("sdpa", "eager")


def test_an_adapter_beside_a_base_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = _with_config(tiny_base, tmp_path / "base")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BaseModelError, match="adapter"):
        check_folder(folder, "base")


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "{}", '{"model_type": "llama", "hidden_size": []}', "\ufeff"])
def test_a_config_of_any_content_is_read_or_refused(tiny_base: Path, tmp_path: Path, content: str) -> None:
    folder = _with_config(tiny_base, tmp_path / "base")
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(BaseModelError):
        load_config(folder)
