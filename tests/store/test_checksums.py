"""Content on the disk that is not what was written is refused, by name, by whoever reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.store import Store
from luthier.types.errors import CorruptDataError, NotFoundError

_FAULTS: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:3]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _add_file(store: Store) -> str:
    return store.files.create("a.jsonl", "fine-tune", lambda out: out.write(b"content") and None).id


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_damaged_file_is_neither_read_nor_placed(store: Store, tmp_path: Path, fault: str) -> None:
    file_id = _add_file(store)
    assert store.files.path(file_id).read_bytes() == b"content"
    _FAULTS[fault](tmp_path / "files" / file_id)
    fault_text = "is missing" if fault == "gone" else "does not match its checksum"
    with pytest.raises(CorruptDataError, match=f"{file_id} {fault_text}"):
        store.files.path(file_id)
    with pytest.raises(CorruptDataError, match=file_id):
        store.files.place(file_id, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert [path for path, intact in store.checksums.verify_all() if not intact] == [f"files/{file_id}"]


def test_a_file_can_be_deleted_with_its_checksum(store: Store, tmp_path: Path) -> None:
    file_id = _add_file(store)
    _FAULTS["flipped"](tmp_path / "files" / file_id)
    store.files.delete(file_id)
    assert list(store.checksums.verify_all()) == []
    with pytest.raises(NotFoundError):
        store.files.path(file_id)


def test_content_of_an_earlier_version_has_no_checksum_and_is_read(store: Store, tmp_path: Path) -> None:
    (tmp_path / "models" / "old").mkdir()
    (tmp_path / "models" / "old" / "adapter_model.safetensors").write_bytes(b"weights")
    store.checksums.verify(tmp_path / "models" / "old", "The model old")


def test_a_checksum_belongs_to_one_path(store: Store, tmp_path: Path) -> None:
    first, second = _add_file(store), _add_file(store)
    _FAULTS["cut"](tmp_path / "files" / first)
    assert store.files.path(second).read_bytes() == b"content"
