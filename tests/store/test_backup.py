"""Backups made while something writes, restored whole or refused."""

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from luthier.store import Store
from luthier.store.backup import MANIFEST, back_up, restore
from luthier.types.errors import LuthierError

pytestmark = pytest.mark.sqlite


def _add_file(store: Store, content: bytes) -> str:
    return store.files.create("a.jsonl", "fine-tune", lambda out: out.write(content) and None).id


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def test_a_backup_holds_what_was_committed_while_the_store_is_open(store: Store, tmp_path: Path) -> None:
    ids = [_add_file(store, b"%d" % number) for number in range(5)]
    assert (tmp_path / "data" / "luthier.db-wal").stat().st_size > 0
    summary = back_up(tmp_path / "data", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    restored = Store(tmp_path / "restored")
    assert [restored.files.path(file_id).read_bytes() for file_id in ids] == [b"%d" % number for number in range(5)]
    assert summary.missing == []


@pytest.mark.parametrize("version", range(1, 4))
def test_a_database_of_an_earlier_release_is_backed_up_before_it_is_migrated(tmp_path: Path, version: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with closing(sqlite3.connect(data / "luthier.db")) as connection:
        dump = Path(__file__).parent / f"version_{version}.sql"
        connection.executescript(dump.read_text(encoding="utf-8"))
    assert f"files/file-of-version-{version}" in back_up(data, tmp_path / "backup").missing


def test_every_row_of_a_backup_has_its_bytes_while_files_come_and_go(store: Store, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            _add_file(store, b"content")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        summaries = [back_up(tmp_path / "data", tmp_path / f"backup-{number}") for number in range(5)]
    finally:
        stop.set()
        writer.join()
    assert [summary.missing for summary in summaries] == [[]] * 5
    restore(tmp_path / "backup-4", tmp_path / "restored")
    restored = Store(tmp_path / "restored")
    files = restored.files.list(purpose=None, limit=10000, ascending=True, after=None).data
    assert files
    assert all(restored.files.path(file.id).read_bytes() == b"content" for file in files)


def test_what_an_earlier_backup_has_takes_no_space_again(store: Store, tmp_path: Path) -> None:
    """Damaged content is copied anew, and the earlier backup neither changes nor is needed afterwards."""
    same, damaged, deleted = (_add_file(store, content) for content in (b"same", b"damaged", b"deleted"))
    first, second = tmp_path / "first", tmp_path / "second"
    back_up(tmp_path / "data", first)
    status = (first / "files" / damaged).stat()
    (first / "files" / damaged).write_bytes(b"DAMAGED")
    os.utime(first / "files" / damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    store.files.delete(deleted)
    new = _add_file(store, b"new")
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    back_up(tmp_path / "data", second, earlier=first)
    assert {name: (second / "files" / name).stat().st_nlink for name in (same, damaged, new)} == {
        same: 2,
        damaged: 1,
        new: 1,
    }
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(first)
    restore(second, tmp_path / "restored")
    restored = Store(tmp_path / "restored")
    contents = {file_id: restored.files.path(file_id).read_bytes() for file_id in (same, damaged, new)}
    assert contents == {same: b"same", damaged: b"damaged", new: b"new"}
    with pytest.raises(LuthierError, match="is not a backup"):
        back_up(tmp_path / "data", tmp_path / "third", earlier=tmp_path / "data")
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("fault", ["flipped", "cut", "gone"])
def test_a_damaged_backup_restores_nothing(store: Store, tmp_path: Path, fault: str) -> None:
    file_id = _add_file(store, b"content")
    back_up(tmp_path / "data", tmp_path / "backup")
    blob = tmp_path / "backup" / "files" / file_id
    if fault == "gone":
        blob.unlink()
    else:
        blob.write_bytes(b"contenu" if fault == "flipped" else b"cont")
    with pytest.raises(LuthierError, match=file_id):
        restore(tmp_path / "backup", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_neither_goes_into_a_folder_that_holds_something(store: Store, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "backup")
    with pytest.raises(LuthierError, match="not empty"):
        back_up(tmp_path / "data", tmp_path / "backup")
    with pytest.raises(LuthierError, match="not empty"):
        restore(tmp_path / "backup", tmp_path / "data")


def test_a_folder_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="is not a backup"):
        restore(tmp_path, tmp_path / "restored")


def test_a_manifest_cannot_name_files_outside(store: Store, tmp_path: Path) -> None:
    back_up(tmp_path / "data", tmp_path / "backup")
    path = tmp_path / "backup" / MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["files"]["../outside"] = {"bytes": 0, "sha256": ""}
    path.write_text(json.dumps(manifest))
    with pytest.raises(LuthierError, match="outside"):
        restore(tmp_path / "backup", tmp_path / "restored")


@pytest.mark.parametrize("database", ["gone", "empty"])
def test_a_data_folder_without_its_database_gets_no_empty_one(store: Store, tmp_path: Path, database: str) -> None:
    """What a person sees who copied `luthier.db` alone, or lost it."""
    _add_file(store, b"content")
    store.close()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "data", copy, ignore=shutil.ignore_patterns("luthier.db*"))
    if database == "empty":
        (copy / "luthier.db").write_bytes(b"")
    with pytest.raises(LuthierError, match="but no database"):
        Store(copy)


def test_the_log_is_folded_into_the_database(store: Store, tmp_path: Path) -> None:
    file_id = _add_file(store, b"content")
    store.delete_expired()
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "data" / "luthier.db", tmp_path / "copy")
    assert Store(tmp_path / "copy").files.retrieve(file_id).bytes == 7
