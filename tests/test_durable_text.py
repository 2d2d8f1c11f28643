"""Files that are replaced durably: complete, or as they were before."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from luthier.cli.alias import write_aliases
from luthier.generate.files import OutputFiles
from luthier.migrate.folder import write_json
from luthier.store.blobs import FolderBlobs
from luthier.training.job_spec import JobSpec
from luthier.types.durable_text import rename_durably, write_durably


@pytest.fixture(name="full_disk")
def _full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize(
    "replace",
    [
        lambda path: write_durably(path, "after"),
        lambda path: write_json(path, {"state": "after"}),
        lambda path: OutputFiles(path).write([], [], {}, None),
        lambda path: write_aliases({"mini": "after"}),
    ],
    ids=["text", "recording", "generated", "aliases"],
)
def test_a_file_that_has_no_room(
    replace: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("host = 'before'\n")
    monkeypatch.setenv("LUTHIER_CONFIG", str(path))
    with pytest.raises(OSError, match="No space"):
        replace(path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "host = 'before'\n")]


def test_a_secret_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, modes = tmp_path / "config.toml", []

    def record_mode(descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            modes.append(mode & 0o777)

    monkeypatch.setenv("LUTHIER_CONFIG", str(path))
    monkeypatch.setattr(os, "fsync", record_mode)
    write_aliases({"mini": "upstream:gpt-4o-mini"})
    path.chmod(0o640)
    write_aliases({})
    assert modes == [0o600, 0o640]
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_durably(folder / "file", "text"),
        lambda folder: FolderBlobs(folder).write("file", _write_text),
        lambda folder: FolderBlobs(folder).write("file", _flushed(folder.parent / "source")),
        lambda folder: rename_durably(_flushed(folder / "partial"), folder / "file"),
    ],
    ids=["text", "blob", "adopted blob", "rename"],
)
def test_a_new_name_is_flushed_before_anything_refers_to_it(
    write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit of the database flushes its own file alone: a row must not outlive the name of its content."""
    flushed: list[tuple[str, bool]] = []
    folder = tmp_path / "folder"
    folder.mkdir()

    def record_names(descriptor: int) -> None:
        status = os.fstat(descriptor)
        name = "folder" if status.st_ino == folder.stat().st_ino else "file"
        flushed.append((name, (folder / "file").exists()))

    monkeypatch.setattr(os, "fsync", record_names)
    write(folder)
    assert flushed[-1] == ("folder", True)


def _write_text(out: IO[bytes]) -> None:
    out.write(b"text")


def _flushed(path: Path) -> Path:
    path.write_text("text")
    return path


@pytest.mark.usefixtures("full_disk")
def test_a_copy_that_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without hard links."""

    def refuse(*_: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file-1").write_text("content")
    with pytest.raises(OSError, match="No space"):
        FolderBlobs(tmp_path / "files").place("file-1", tmp_path / "train.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.usefixtures("full_disk")
def test_the_specification_of_a_job_that_has_no_room(tmp_path: Path) -> None:
    """Half a specification would fail every further run of the job."""
    spec = JobSpec(base="b", base_name="b", seed=1)
    with pytest.raises(OSError, match="No space"):
        spec.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
