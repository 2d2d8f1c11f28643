"""Blobs in a bucket: the contract of the folder holds, and another machine finds all that this one has stored."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from luthier.store import Event, Store
from luthier.store.blobs import Blobs, BucketBlobs, FolderBlobs
from luthier.store.bucket import Bucket
from luthier.types.errors import CorruptDataError, LuthierError, NotFoundError
from store.test_store import JOB, add_checkpoint, put

pytestmark = pytest.mark.sqlite  # machines share a database by a link
_DAY_S = 24 * 3600


@pytest.fixture(name="bucket")
def _bucket() -> Bucket:
    return Bucket("memory:///", MemoryStore())


@pytest.fixture(name="blobs", params=["folder", "bucket"])
def _blobs(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Blobs:
    folder = tmp_path / "blobs"
    return FolderBlobs(folder) if request.param == "folder" else BucketBlobs(bucket, "blobs", folder)


@pytest.fixture(name="open_store")
def _open_store(tmp_path: Path, bucket: Bucket) -> Iterator[Callable[..., Store]]:
    """Opens a store on a machine of that name: all have one database, and `bucket`."""
    opened: list[Store] = []

    def open_store(machine: str = "a", used: Bucket | None = bucket) -> Store:
        folder = tmp_path / machine
        if machine != "a":
            folder.mkdir(exist_ok=True)
            (folder / "luthier.db").unlink(missing_ok=True)
            (folder / "luthier.db").symlink_to(tmp_path / "a" / "luthier.db")
        opened.append(Store(folder, bucket=used))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


def _write(blobs: Blobs, name: str, content: bytes) -> None:
    blobs.write(name, lambda out: out.write(content) and None)


def test_a_blob_is_read_placed_and_deleted(blobs: Blobs, tmp_path: Path) -> None:
    _write(blobs, "one", b"content")
    assert blobs.local_copy("one").read_bytes() == blobs.read("one") == b"content"
    blobs.place("one", tmp_path / "placed")
    blobs.delete("one")
    blobs.delete("one")
    assert (tmp_path / "placed").read_bytes() == b"content"
    for read in (blobs.local_copy, blobs.read):
        with pytest.raises(FileNotFoundError):
            read("one")


def test_a_received_file_becomes_a_blob(blobs: Blobs) -> None:
    received = blobs.folder / ".new-received"
    received.write_bytes(b"content")
    assert blobs.write("one", received).bytes == 7
    received.unlink()
    assert blobs.read("one") == b"content"


def test_a_source_that_breaks_off_leaves_nothing(blobs: Blobs, bucket: Bucket) -> None:
    def fill(out: Any) -> None:
        out.write(b"half")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        blobs.write("one", fill)
    assert [*blobs.folder.iterdir(), *bucket.list("blobs")] == []


def test_orphans_go_a_day_later(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "orphan"):
        _write(blobs, name, b"x")
        os.utime(blobs.local_copy(name), (0, 0))
    if isinstance(blobs, BucketBlobs):
        monkeypatch.setattr("luthier.store.blobs.now", lambda: int(time.time()) + 2 * _DAY_S)
    blobs.delete_orphans({"kept"})
    assert blobs.read("kept") == b"x"
    with pytest.raises(FileNotFoundError):
        blobs.read("orphan")


def test_files_reports_and_parts_are_there_on_another_machine(open_store: Callable[..., Store]) -> None:
    here = open_store()
    file = put(here, b"content")
    here.files.save_report(file.id, {"ok": True})
    upload = here.uploads.create("a.jsonl", "fine-tune", 4, file_expires_after_s=None)
    parts = [here.uploads.add_part(upload.id, lambda out: out.write(b"ab") and None, max_bytes=9).id for _ in range(2)]
    there = open_store("b")
    assert there.files.path(file.id).read_bytes() == b"content"
    there.files.save_report(file.id, {"ok": False})
    assert here.files.report(file.id) == {"ok": False}
    completed = there.uploads.complete(upload.id, parts, None)
    assert completed.file
    assert here.files.path(completed.file.id).read_bytes() == b"abab"
    there.files.delete(file.id)
    with pytest.raises(NotFoundError):
        here.files.path(file.id)


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_refused(
    open_store: Callable[..., Store], bucket: Bucket
) -> None:
    store = open_store()
    file = put(store, b"content")
    store.files.path(file.id).write_bytes(b"c0ntent")
    assert store.files.path(file.id).read_bytes() == b"content"
    bucket.put_bytes(f"files/{file.id}", b"c0ntent")
    assert list(store.checksums.verify_all()) == [(f"files/{file.id}", False)]
    (store.files.folder / file.id).unlink()
    with pytest.raises(CorruptDataError, match=file.id):
        store.files.path(file.id)


def test_models_are_fetched_when_they_are_used(
    open_store: Callable[..., Store], bucket: Bucket, tmp_path: Path
) -> None:
    here = open_store()
    job = here.jobs.create(**JOB)
    names = [add_checkpoint(here, job.id, tmp_path, step) for step in (1, 2)]
    standalone = tmp_path / "standalone"
    standalone.mkdir()
    (standalone / "config.json").write_text("{}")
    names.append(add_checkpoint(here, job.id, tmp_path, 3, source=standalone))
    there = open_store("b")
    assert [model.standalone for model in there.models.list()] == [False, False, True]
    assert not any(there.models_folder.iterdir())
    model = there.models.find(str(names[1]))
    assert model is not None
    assert (model.adapter / "weights").read_text() == "2"
    there.checksums.verify(model.adapter, "The model")
    on_standalone = there.jobs.create(**{**JOB, "base": there.models.list()[-1].standalone_base})
    adapter = there.models.find(str(add_checkpoint(there, on_standalone.id, tmp_path, 4)))
    assert adapter is not None
    assert (there.models_folder / f"{job.id}-step-3" / "config.json").is_file()  # its base came with it
    here.models.delete(str(names[1]))
    assert there.models.find(str(names[1])) is None
    assert not list(bucket.list(f"models/{model.adapter.name}"))


def test_a_model_that_the_bucket_has_damaged_is_refused_whole(
    open_store: Callable[..., Store], bucket: Bucket, tmp_path: Path
) -> None:
    here = open_store()
    job = here.jobs.create(**JOB)
    name = str(add_checkpoint(here, job.id, tmp_path, 1))
    bucket.put_bytes(f"models/{job.id}-step-1/weights", b"9")
    there = open_store("b")
    with pytest.raises(CorruptDataError, match="weights"):
        there.models.find(name)
    assert not any(there.models_folder.iterdir())


def _claim(store: Store, owner: str) -> int:
    """The fencing token."""
    claimed = store.jobs.claim(owner, "validating_files")
    assert claimed is not None
    return claimed.fencing_token


def _job_folder(store: Store, job_id: str, state: bytes) -> Path:
    folder = store.job_folder(job_id)
    for name, content in {"state/state-1.safetensors": state, "train.jsonl": b"{}\n", "events.jsonl": b"{}\n",
                          "checkpoints/best/weights": b"best", "train.tokens/ids": b"left out"}.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_job_goes_on_at_another_machine_from_its_last_save(open_store: Callable[..., Store], bucket: Bucket) -> None:
    here = open_store()
    job = here.jobs.create(**JOB)
    token = _claim(here, "one")
    folder = _job_folder(here, job.id, b"step 1")
    assert here.job_states.save(job.id, token, folder)
    first = {entry.key for entry in bucket.list("jobs")}
    (folder / "state" / "state-1.safetensors").write_bytes(b"step 2")
    assert here.job_states.save(job.id, token, folder)
    second = {entry.key for entry in bucket.list("jobs")}
    assert len(second) == len(first) == 3  # two files are alike; only the state is another object
    assert len(second - first) == 1
    there = open_store("b")
    copy = there.job_folder(job.id)
    (copy / "stale").touch()
    assert there.job_states.restore(job.id, copy)
    assert (copy / "state" / "state-1.safetensors").read_bytes() == b"step 2"
    assert (copy / "checkpoints" / "best" / "weights").read_bytes() == b"best"
    assert not (copy / "stale").exists()
    assert not (copy / "train.tokens").exists()
    assert not there.job_states.restore(job.id, copy)  # it continues the save
    assert not here.job_states.restore(job.id, folder)


def test_a_worker_that_has_lost_its_job_saves_nothing(open_store: Callable[..., Store], bucket: Bucket) -> None:
    store = open_store()
    job = store.jobs.create(**JOB)
    token = _claim(store, "one")
    folder = _job_folder(store, job.id, b"step 1")
    assert store.job_states.save(job.id, token, folder)
    objects = sorted(bucket.list("jobs"))
    store.jobs.queue.release(job.id, "one")
    _claim(store, "two")
    (folder / "state" / "state-1.safetensors").write_bytes(b"step 2")
    assert not store.job_states.save(job.id, token, folder)
    assert sorted(bucket.list("jobs")) == objects
    store.jobs.transition(job.id, ("validating_files",), "cancelled", Event("cancelled"))
    store.delete_expired()
    assert list(bucket.list("jobs")) == []


def test_a_data_folder_moves_into_a_bucket_once(open_store: Callable[..., Store], tmp_path: Path) -> None:
    earlier = open_store(used=None)
    file = put(earlier, b"content")
    earlier.files.save_report(file.id, {"ok": True})
    job = earlier.jobs.create(**JOB)
    name = str(add_checkpoint(earlier, job.id, tmp_path, 1))
    here, there = open_store(), open_store("b")
    here.files.save_report(file.id, {"ok": False})  # a report has no checksum: it may be written again
    assert there.files.report(file.id) == {"ok": False}
    assert all(intact for _, intact in there.checksums.verify_all())
    assert there.files.path(file.id).read_bytes() == b"content"
    model = there.models.find(name)
    assert model is not None
    assert (model.adapter / "weights").read_text() == "1"
    with pytest.raises(LuthierError, match="LUTHIER_BLOBS=memory"):
        open_store(used=None)
    with pytest.raises(LuthierError, match="is empty"):
        open_store(used=Bucket("memory:///other", MemoryStore()))


def test_a_bucket_belongs_to_one_database(open_store: Callable[..., Store], bucket: Bucket, tmp_path: Path) -> None:
    open_store()
    with pytest.raises(LuthierError, match="belongs to another"):
        Store(tmp_path / "other", bucket=bucket)
    assert json.loads(bucket.read("luthier.json"))["id"].startswith("store_")


def test_the_least_recently_used_copies_go(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, bucket, max_copy_bytes=16)
    ids = [put(store, bytes(8)).id for _ in range(3)]
    for age, file_id in enumerate(ids):
        os.utime(store.files.folder / file_id, (time.time() - 9_000 + age,) * 2)
    (store.files.folder / "mine").write_bytes(bytes(8))  # the bucket has none of it
    os.utime(store.files.folder / "mine", (0, 0))
    monkeypatch.setattr("luthier.store.blobs._ORPHAN_AGE_S", 10**12)
    store.delete_expired()
    assert {path.name for path in store.files.folder.iterdir()} == {ids[2], "mine"}
    assert all(store.files.path(file_id).stat().st_size == 8 for file_id in ids)
    store.close()
