"""Adapters from elsewhere: what cannot be served is refused by name, the rest answers under a name of its own."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from openai import OpenAI
from safetensors.torch import load_file, save_file

from export.installation import Installation
from luthier.cli import main
from luthier.export.adapter import CONFIG, WEIGHTS
from luthier.export.importing import import_adapter
from luthier.runtime import LuthierServer
from luthier.types.errors import ExportError


def adapter_folder(installation: Installation, target: Path, **config: object) -> Path:
    """As PEFT leaves it: config and weights, and nothing of Luthier's."""
    target.mkdir()
    source = installation.source.folder
    values = json.loads((source / CONFIG).read_text()) | {"base_model_name_or_path": "/home/me/base", **config}
    (target / CONFIG).write_text(json.dumps(values))
    (target / WEIGHTS).write_bytes((source / WEIGHTS).read_bytes())
    return target


@pytest.mark.torch  # through the session's server
def test_an_imported_adapter_answers(
    installation: Installation, server: LuthierServer, client: OpenAI, tmp_path: Path
) -> None:
    """While the server runs. Its answers are not those of the base."""
    folder = adapter_folder(installation, tmp_path / "adapter")
    arguments = ["models", "import", str(folder), "--base", str(installation.source.base), "--name", "theirs"]
    ran = CliRunner().invoke(main, [*arguments, "--json", "--data", str(server.data)])
    assert ran.exit_code == 0, ran.output
    name = json.loads(ran.stdout)["id"]
    assert ":theirs:" in name
    assert name in {model.id for model in client.models.list()}
    question = {"messages": [{"role": "user", "content": "number 3"}], "max_tokens": 8, "temperature": 0}
    answers = [client.chat.completions.create(model=model, **question) for model in (name, "gpt-3.5-turbo")]
    assert answers[0].choices[0].message.content != answers[1].choices[0].message.content
    client.models.delete(name)


def _as_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def _with_output_layer(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    a, b = torch.ones(4, 32), torch.ones(258, 4)
    tensors |= {f"base_model.model.lm_head.lora_{name}.weight": tensor for name, tensor in (("A", a), ("B", b))}
    save_file(tensors, folder / WEIGHTS)


def _with_dora(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text()) | {"use_dora": True}
    (folder / CONFIG).write_text(json.dumps(config))


def _cut_short(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])


def _without_config(folder: Path) -> None:
    (folder / CONFIG).unlink()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_as_pickle, "only as adapter_model.bin, a pickle"),
        (_with_output_layer, "changes lm_head"),
        (_with_dora, "use_dora"),
        (_cut_short, "cannot be read"),
        (_without_config, "is not a PEFT adapter"),
    ],
)
def test_what_cannot_be_served_is_refused(installation: Installation, tmp_path: Path, change, part: str) -> None:
    folder = adapter_folder(installation, tmp_path / "adapter")
    change(folder)
    before = [model.id for model in installation.store.models.list()]
    with pytest.raises(ExportError, match=part):
        import_adapter(folder, str(installation.source.base), installation.store, installation.catalogue, "me", None)
    assert [model.id for model in installation.store.models.list()] == before
