"""Small files that are read again after a crash: complete, or as they were before."""

import os
from pathlib import Path

import pytest

from luthier.store.blobs import FolderBlobs
from luthier.training.job_spec import JobSpec
from luthier.types.durable_text import write_durably


@pytest.fixture(name="full_disk")
def _full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)


@pytest.mark.usefixtures("full_disk")
def test_a_text_that_has_no_room(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("before")
    with pytest.raises(OSError, match="No space"):
        write_durably(path, "after")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.json", "before")]


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
