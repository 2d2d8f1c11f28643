"""The store: what is written is whole, and of two who want the same only one gets it."""

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import IO, Any

import pytest

from luthier.store import Event, Store
from luthier.store.blobs import FolderBlobs
from luthier.store.work_queue import LEASE_S
from luthier.types.clock import Clock
from luthier.types.errors import BadRequestError, LuthierError, NotFoundError

JOB: dict[str, Any] = {
    "model": "gpt-4o-mini-2024-07-18",
    "base": "tiny",
    "parent": None,
    "training_file": "file-1",
    "validation_file": None,
    "suffix": None,
    "seed": 1,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
    "integrations": [],
    "metadata": None,
}


@pytest.fixture
def store(tmp_path: Path):
    result = Store(tmp_path / "data")
    yield result
    result.close()


def put(store: Store, content: bytes = b"x", name: str = "a.jsonl", **parameters: Any):
    def fill(out: IO[bytes]) -> None:
        out.write(content)

    return store.files.create(name, parameters.pop("purpose", "fine-tune"), fill, **parameters)


def test_a_file_comes_back_as_it_went_in(store: Store) -> None:
    file = put(store, b"\x00\xff" * 1000)
    assert file.bytes == 2000
    assert store.files.path(file.id).read_bytes() == b"\x00\xff" * 1000
    assert store.files.retrieve(file.id) == file
    store.files.delete(file.id)
    with pytest.raises(NotFoundError):
        store.files.retrieve(file.id)
    assert not list(store.files.folder.iterdir())


def test_what_a_crash_left_goes_a_day_later(tmp_path: Path) -> None:
    """A blob without its row, and half a blob; never one with a row, and never a young one."""
    store = Store(tmp_path)
    file = put(store)
    folder = tmp_path / "files"
    for name, age_s in ((file.id, 90_000), ("file-stray", 90_000), (".new-half", 90_000), ("file-young", 10)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age_s,) * 2)
    store.close()
    Store(tmp_path).close()
    assert {path.name for path in folder.iterdir()} == {file.id, "file-young"}


def test_a_file_that_breaks_off_leaves_nothing(store: Store) -> None:
    def fill(out: IO[bytes]) -> None:
        out.write(b"half")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.files.create("a", "fine-tune", fill)
    assert not list(store.files.folder.iterdir())
    assert store.files.list(purpose=None, limit=10, ascending=True, after=None).data == []


def test_an_expired_file_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(store, expires_after_s=3600)
    later = file.created_at + 3601
    monkeypatch.setattr("luthier.store.files.now", lambda: later)
    with pytest.raises(NotFoundError):
        store.files.retrieve(file.id)
    store.files.delete_expired()
    assert not list(store.files.folder.iterdir())


@pytest.mark.parametrize("ascending", [True, False])
def test_pages_show_everything_once(store: Store, ascending: bool) -> None:
    result = [put(store).id for _ in range(7)]
    listed, after, more = [], None, True
    while more:
        page = store.files.list(purpose="fine-tune", limit=3, ascending=ascending, after=after)
        listed += [file.id for file in page.data]
        after, more = listed[-1], page.has_more
    assert listed == (result if ascending else result[::-1])
    with pytest.raises(BadRequestError, match="no object with id 'file-unknown'"):
        store.files.list(purpose=None, limit=3, ascending=True, after="file-unknown")


def test_a_guarded_change_happens_once(store: Store) -> None:
    job = store.jobs.create(**JOB)
    assert store.jobs.transition(job.id, ("validating_files",), "queued", Event("one"))
    assert not store.jobs.transition(job.id, ("validating_files",), "queued", Event("two"))
    message = [event.message for event in store.jobs.events(job.id, limit=10, after=None).data]
    assert message == ["one", f"Created fine-tuning job: {job.id}"]


def test_one_job_has_one_worker(store: Store) -> None:
    """Eight workers, five jobs, all at once."""
    jobs = {store.jobs.create(**JOB).id for _ in range(5)}
    claimed: list[str] = []

    def work(owner: str) -> None:
        while job := store.jobs.claim(owner, "validating_files"):
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(jobs)


def test_the_oldest_job_comes_first(store: Store) -> None:
    first, second = (store.jobs.create(**JOB).id for _ in range(2))
    assert [store.jobs.claim("w", "validating_files").id for _ in range(2)] == [first, second]


def test_a_lease_that_ran_out_is_free(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.jobs.create(**JOB)
    store.jobs.claim("one", "validating_files")
    store.jobs.transition(job.id, ("validating_files",), "running", Event("started"), release=False)
    assert store.jobs.queue.heartbeat(job.id, "one") == "running"
    assert store.jobs.queue.heartbeat(job.id, "two") is None
    assert store.jobs.requeue_lost() == []
    monkeypatch.setattr("luthier.types.clock.CLOCK", Clock(lambda: time.time() + LEASE_S + 1))
    assert store.jobs.requeue_lost() == [job.id]
    assert store.jobs.queue.heartbeat(job.id, "one") is None
    assert store.jobs.claim("two", "queued").id == job.id


def test_nothing_is_added_to_a_job_that_is_over(store: Store, tmp_path: Path) -> None:
    job = store.jobs.create(**JOB)
    store.jobs.cancel(job.id)
    store.jobs.record(job.id, Event("late"), trained_tokens=5)
    assert store.jobs.retrieve(job.id).trained_tokens is None
    assert store.jobs.events(job.id, limit=1, after=None).data[0].message == "The job was cancelled"
    assert add_checkpoint(store, job.id, tmp_path, 1) is None
    for change in (store.jobs.cancel, store.jobs.pause, store.jobs.resume):
        with pytest.raises(BadRequestError):
            change(job.id)


def test_a_step_is_recorded_once(store: Store) -> None:
    job = store.jobs.create(**JOB)
    for loss in (1.0, 2.0):
        store.jobs.record(job.id, Event("Step 1/2", type="metrics", data={"step": 1, "loss": loss}, step=1))
    store.jobs.record(job.id, Event("note"), Event("note"))
    assert store.jobs.metrics(job.id) == [{"step": 1, "loss": 1.0}]
    assert len(store.jobs.events(job.id, limit=10, after=None).data) == 4


def test_jobs_are_found_by_their_metadata(store: Store) -> None:
    target = store.jobs.create(**{**JOB, "metadata": {"team": "a", "run": "1"}})
    store.jobs.create(**{**JOB, "metadata": {"team": "b"}})
    store.jobs.create(**JOB)
    page = store.jobs.list(limit=10, after=None, metadata={"team": "a", "run": "1"})
    assert [job.id for job in page.data] == [target.id]
    assert store.jobs.list(limit=10, after=None, metadata={"team": "c"}).data == []


def add_checkpoint(
    store: Store, job_id: str, tmp_path: Path, step: int, keep: int = 3, source: Path | None = None
) -> str | None:
    if source is None:
        source = tmp_path / "adapter"
        source.mkdir(exist_ok=True)
        (source / "weights").write_text(str(step))
    return store.models.add_checkpoint(
        store.jobs.get(job_id),
        name=f"ft:m:personal::{step:08}",
        step=step,
        metrics={"step": step},
        source=source,
        call_form=None,
        event=Event(f"checkpoint {step}"),
        keep=keep,
    )


def test_checkpoints_are_models_and_the_newest_stay(store: Store, tmp_path: Path) -> None:
    job = store.jobs.create(**JOB)
    for step in (1, 2, 3, 4):
        add_checkpoint(store, job.id, tmp_path, step)
    assert add_checkpoint(store, job.id, tmp_path, 4) == "ft:m:personal::00000004"
    assert [point.step_number for point in store.jobs.checkpoints(job.id, limit=9, after=None).data] == [4, 3, 2]
    assert [(model.adapter / "weights").read_text() for model in store.models.list()] == ["2", "3", "4"]
    assert len(list(store.models_folder.iterdir())) == 3
    store.models.delete("ft:m:personal::00000003")
    assert store.models.find("ft:m:personal::00000003") is None
    with pytest.raises(NotFoundError):
        store.models.delete("ft:m:personal::00000003")


def test_a_whole_model_stays_while_others_start_from_it(store: Store, tmp_path: Path) -> None:
    """A job that is not over, and an adapter; a whole model that came of it has weights of its own."""

    def whole(job_id: str, name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
        result = add_checkpoint(store, job_id, tmp_path, int(name), source=tmp_path / name, keep=1)
        assert result
        return result

    name = whole(store.jobs.create(**JOB).id, "1")
    on_it = {**JOB, "base": store.models.find(name).standalone_base}
    job = store.jobs.create(**on_it)
    with pytest.raises(BadRequestError, match="start from"):
        store.models.delete(name)
    whole(job.id, "2")
    store.jobs.cancel(job.id)
    other = store.jobs.create(**on_it)
    adapter = add_checkpoint(store, other.id, tmp_path, 3)
    store.jobs.cancel(other.id)
    with pytest.raises(BadRequestError, match="start from"):
        store.models.delete(name)
    store.models.delete(adapter)
    store.models.delete(name)


def test_a_checkpoint_survives_a_crash_at_any_point(store: Store, tmp_path: Path) -> None:
    """The folder may have been moved already, the row not yet written; or both, and it is told again."""
    job = store.jobs.create(**JOB)
    add_checkpoint(store, job.id, tmp_path, 1)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_text("2")
    (tmp_path / "adapter").rename(store.models_folder / f"{job.id}-step-2")
    assert add_checkpoint(store, job.id, tmp_path, 2, source=tmp_path / "moved") == "ft:m:personal::00000002"
    assert add_checkpoint(store, job.id, tmp_path, 2, source=tmp_path / "moved") == "ft:m:personal::00000002"
    store.models.delete("ft:m:personal::00000001")
    assert add_checkpoint(store, job.id, tmp_path, 1, source=tmp_path / "moved") is None
    (store.models_folder / f"{job.id}-step-1").mkdir()  # a crash between its row and its folder, as it went
    assert add_checkpoint(store, job.id, tmp_path, 1, source=tmp_path / "moved") is None
    assert [point.step_number for point in store.jobs.checkpoints(job.id, limit=9, after=None).data] == [2]


def test_stray_entries_among_job_folders_are_left_alone(store: Store, tmp_path: Path) -> None:
    job = store.jobs.create(**JOB)
    folder = store.job_folder(job.id)
    (folder.parent / "lost+found").mkdir()
    assert list(store.finished_job_folders()) == []
    store.jobs.cancel(job.id)
    assert list(store.finished_job_folders()) == [folder]


@pytest.mark.sqlite
def test_another_schema_is_refused_by_number(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "luthier.db") as connection:
        connection.execute("UPDATE schema SET version = 99")
    connection.close()
    with pytest.raises(LuthierError, match="schema version 99"):
        Store(tmp_path)


def test_state_outlives_the_store(tmp_path: Path) -> None:
    first = Store(tmp_path)
    file, job = put(first), first.jobs.create(**JOB)
    first.close()
    second = Store(tmp_path)
    assert second.files.retrieve(file.id) == file
    assert second.jobs.retrieve(job.id) == job
    second.close()


def test_a_report_lives_as_long_as_its_file(store: Store) -> None:
    file = store.files.create("a.jsonl", "fine-tune", lambda out: None)
    with pytest.raises(NotFoundError, match="no job has validated"):
        store.files.report(file.id)
    store.files.save_report(file.id, {"ok": True})
    store.files.delete_orphans()
    assert store.files.report(file.id) == {"ok": True}
    store.files.delete(file.id)
    store.files.save_report(file.id, {"ok": True})
    with pytest.raises(NotFoundError):
        store.files.report(file.id)
    assert not list(store.files.folder.glob("*.report"))


def test_placed_content_outlives_its_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a hard link, or as a copy where the target is on another file system; again over an earlier one."""
    file = put(store, b"one\ntwo\n")
    linked, copied = tmp_path / "linked.jsonl", tmp_path / "copied.jsonl"
    linked.write_bytes(b"earlier")
    store.files.place(file.id, linked)
    assert linked.stat().st_nlink == 2

    def refuse(*paths: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("luthier.store.blobs.os.link", refuse)
    store.files.place(file.id, copied)
    assert copied.stat().st_nlink == 1
    store.files.delete(file.id)
    assert linked.read_bytes() == copied.read_bytes() == b"one\ntwo\n"
    with pytest.raises(NotFoundError):
        store.files.place(file.id, linked)


def test_a_file_in_the_folder_becomes_a_blob_without_a_copy(tmp_path: Path) -> None:
    blobs, received = FolderBlobs(tmp_path), tmp_path / ".new-upload"
    for content in (b"first", b"second"):  # a retry finds the blob of the first try
        received.write_bytes(content)
        assert blobs.write("file-1", received).bytes == len(content)
        received.unlink()
        assert blobs.local_copy("file-1").read_bytes() == content
    received.write_bytes(b"linked")
    blobs.write("file-2", received)
    assert blobs.local_copy("file-2").samefile(received)
