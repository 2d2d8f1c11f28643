"""Exports from start to end: folders appear whole or not at all, and hold only what answers as it was trained to."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from export.installation import MODEL, Installation, install
from luthier.cli import main
from luthier.export import gate, run
from luthier.export.runtimes import llama_cpp
from luthier.types.errors import ExportError
from training.jobs import EXAMPLES

needs_llama_cpp = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="llama.cpp (xllamacpp) is not installed"
)


@needs_llama_cpp
def test_gguf_answers_in_llama_cpp_as_it_was_trained_to(calling_installation: Installation, tmp_path: Path) -> None:
    """Log-probabilities, tokens of texts and prompts with functions; one file and an adapter beside the base."""
    result = calling_installation.export("gguf:q8_0", tmp_path / "out")
    (verification,) = result.verifications
    assert not verification.failure
    assert verification.report.mean_difference < 0.05
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "model-q8_0.gguf"]
    assert "q8_0" in (tmp_path / "out" / "README.md").read_text()


@needs_llama_cpp
def test_a_gguf_adapter_answers_beside_its_base(installation: Installation, tmp_path: Path) -> None:
    result = installation.export("gguf-lora", tmp_path / "out")
    assert not result.failed
    assert result.verifications[0].report.mean_difference < 0.01


def test_a_runtime_that_is_not_installed_is_named(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "version", lambda: None)
    result = installation.export("ollama", tmp_path / "out")
    assert "pip install xllamacpp" in result.verifications[0].unverified
    assert "not verified: llama.cpp is not installed" in (tmp_path / "out" / "README.md").read_text()


def _lose_the_adapter(folder: Path) -> None:
    """As an export that scales by zero would."""
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: torch.zeros_like(tensor) for name, tensor in weights.items()}, folder / "adapter_model.safetensors"
    )


def test_what_does_not_answer_as_trained_is_not_left(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = gate.Gate.verify

    def verify_damaged(self: gate.Gate, artefact: gate.Artefact) -> gate.Verification:
        _lose_the_adapter(artefact.path)
        return verify(self, artefact)

    monkeypatch.setattr(gate.Gate, "verify", verify_damaged)
    result = installation.export("peft", tmp_path / "out")
    assert "rounding is at most" in result.verifications[0].failure
    assert result.folder is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_the_disk_is_bounded(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportError, match="is not overwritten"):
        installation.export("peft", tmp_path / "there")
    monkeypatch.setattr(run, "_RESERVED_BYTES", 1 << 60)
    with pytest.raises(ExportError, match="GiB are free"):
        installation.export("peft", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_base_that_nobody_else_has_needs_a_name(installation: Installation, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--base-id"):
        installation.export("peft", tmp_path / "out", base_id=None)


def test_the_command_prints_what_was_verified(installation: Installation, tmp_path: Path) -> None:
    environment = {"LUTHIER_CACHE": str(installation.settings.cache), "LUTHIER_PRECISION": "float32"}
    arguments = ["export", MODEL, "--to", "vllm", "--out", str(tmp_path / "out"), "--json"]
    ran = CliRunner().invoke(main, [*arguments, "--data", str(installation.settings.data)], env=environment)
    assert ran.exit_code == 0, ran.output
    document = json.loads(ran.stdout)
    assert document["artefacts"][0]["failure"] is None
    script = (tmp_path / "out" / "serve.sh").read_text()
    assert f"--served-model-name {MODEL}" in script
    assert installation.store.exports.list(MODEL)[-1]["folder"] == str(tmp_path / "out")
    again = CliRunner().invoke(
        main, [*arguments[:1], "nobody", "--to", "peft", "--data", str(installation.settings.data)]
    )
    assert again.exit_code == 2
    assert "no fine-tuned model 'nobody'" in again.output


def test_a_fully_fine_tuned_model_is_exported_whole(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no adapter and needs no base; nothing is merged."""
    installed = install(tmp_path / "full", tiny_base, EXAMPLES, tuning="full")
    result = installed.export("merged", tmp_path / "merged")
    assert not result.failed
    assert result.verifications[0].report.mean_difference < 1e-3
    monkeypatch.setattr(llama_cpp, "version", lambda: None)
    assert installed.export("gguf:bf16", tmp_path / "gguf").folder
    for target in ("peft", "gguf-lora"):
        with pytest.raises(ExportError, match="there is no adapter"):
            installed.export(target, tmp_path / target)
    installed.store.close()
