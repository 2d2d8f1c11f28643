"""Saved job states in the bucket, with which another worker can continue a job: data, resume state and checkpoints.

A row names the objects of the job's latest save. Objects get new names at every save, and only the worker whose claim
is the job's newest replaces the row. Without a bucket, the job folder is the only copy, and this module does nothing.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Table, delete, insert, select

from luthier.store.bucket import Bucket
from luthier.store.column_types import Int64, short_text
from luthier.store.content import Content
from luthier.store.database import Database, jobs, metadata
from luthier.types.common import now
from luthier.types.durable_text import write_durably
from luthier.types.errors import CorruptDataError
from luthier.types.fine_tuning import FINAL
from luthier.types.ids import new_id

_PREFIX = "jobs"  # in the bucket
_MARK = ".saved.json"  # in the job folder: identifies the save that it continues
_STATES = "state"  # the folder of resume states, one per claim that saved any
_APPENDED = "events.jsonl"  # grows in place; every other file is replaced as a whole
# Files that the next trainer recomputes, or that belong to this machine.
_LEFT_OUT = ("trainer.log", "trainer.lock", _MARK)
_LEFT_OUT_SUFFIXES = (".tokens", ".new")

job_states = Table(
    "job_states",
    metadata,
    Column("job_id", short_text(64), primary_key=True),
    Column("save", short_text(64), nullable=False),
    Column("files", JSON, nullable=False),  # by path in the job folder: object, bytes, sha256
    Column("saved_at", Int64, nullable=False),
)

_Files = dict[str, dict[str, Any]]


class JobStates:
    def __init__(self, database: Database, bucket: Bucket | None) -> None:
        self._database, self._bucket = database, bucket

    @property
    def are_kept(self) -> bool:
        return self._bucket is not None

    def save(self, job_id: str, fencing_token: int, folder: Path) -> bool:
        """Upload the changes in the job folder. False if the job has been claimed again since `fencing_token`.

        States are linked first, so that the checkpoints and events that a state counts are in the same save.
        """
        if self._bucket is None:
            return True
        _, earlier = self._saved(job_id)
        save, files = new_id("save_"), {}
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".save-") as name:
            for path in snapshot(folder, Path(name)):
                files[path] = self._upload(job_id, save, Path(name) / path, earlier.get(path))
        if not self._replace(job_id, fencing_token, save, files):
            self._bucket.delete(*(_objects(files) - _objects(earlier)))
            return False
        write_durably(folder / _MARK, json.dumps({"save": save}))
        self._bucket.delete(*(_objects(earlier) - _objects(files)))
        return True

    def restore(self, job_id: str, folder: Path) -> bool:
        """Replace the job folder by the latest save, unless the folder equals that save or continues it.

        Returns whether anything was downloaded. Raises CorruptDataError for an object that differs from what was
        written.
        """
        save, files = self._saved(job_id)
        if self._bucket is None or not files or _mark(folder) == save:
            return False
        for entry in folder.iterdir():
            if entry.name not in ("trainer.lock", "trainer.log"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for path, description in files.items():
            content = Content(description["bytes"], description["sha256"])
            if self._bucket.fetch(description["object"], folder / path) != content:
                raise CorruptDataError(f"{description['object']} in {self._bucket.url} does not match its checksum.")
        write_durably(folder / _MARK, json.dumps({"save": save}))
        return True

    def delete_finished(self) -> None:
        """Delete the saves of finished and deleted jobs."""
        if self._bucket is None:
            return
        with self._database.read() as connection:
            unfinished = select(jobs.c.id).where(jobs.c.status.not_in(FINAL))
            over = select(job_states.c.job_id).where(job_states.c.job_id.not_in(unfinished))
            job_ids = connection.scalars(over).all()
        for job_id in job_ids:
            self._bucket.delete(*[entry.key for entry in self._bucket.list(f"{_PREFIX}/{job_id}")])
            with self._database.write() as connection:
                connection.execute(delete(job_states).where(job_states.c.job_id == job_id))

    def _upload(self, job_id: str, save: str, path: Path, earlier: dict[str, Any] | None) -> dict[str, Any]:
        """Upload a file and return its object, or that of the earlier save if the content is the same."""
        assert self._bucket is not None  # noqa: S101 - checked by the caller
        content = Content.of(path)
        description = content._asdict()
        if earlier and description == {name: earlier[name] for name in description}:
            return earlier
        key = f"{_PREFIX}/{job_id}/{save}/{content.sha256}"
        self._bucket.put(key, path)
        return {"object": key, **description}

    def _saved(self, job_id: str) -> tuple[str | None, _Files]:
        with self._database.read() as connection:
            row = connection.execute(select(job_states).where(job_states.c.job_id == job_id)).mappings().first()
        return (row["save"], row["files"]) if row else (None, {})

    def _replace(self, job_id: str, fencing_token: int, save: str, files: _Files) -> bool:
        with self._database.write() as connection:
            mine = (jobs.c.id == job_id) & (jobs.c.fencing_token == fencing_token)
            if connection.scalar(select(jobs.c.seq).where(mine).with_for_update()) is None:
                return False
            connection.execute(delete(job_states).where(job_states.c.job_id == job_id))
            values = {"job_id": job_id, "save": save, "files": files, "saved_at": now()}
            connection.execute(insert(job_states).values(**values))
        return True


def state_version(folder: Path) -> tuple[int, int] | None:
    """A value that changes whenever a trainer saves its state; None before the first save."""
    versions = []
    for path in (folder / _STATES).glob("*.safetensors"):
        with suppress(FileNotFoundError):  # replaced by that of a newer claim
            status = path.stat()
            versions.append((status.st_mtime_ns, status.st_ino))
    return max(versions, default=None)


def files_to_go_on(folder: Path) -> list[Path]:
    """The files of a job folder that another trainer needs to continue, as relative paths, states first."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    included = [path for path in paths if path.name not in _LEFT_OUT and not _is_left_out(path)]
    return sorted(included, key=lambda path: path.parts[0] != _STATES)


def snapshot(folder: Path, target: Path) -> Iterator[str]:
    """Link the files of a job folder into `target`, states first, and yield their paths. Files may disappear
    meanwhile."""
    for path in files_to_go_on(folder):
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.name == _APPENDED:
                shutil.copyfile(folder / path, copy)
            else:
                os.link(folder / path, copy)
        except FileNotFoundError:
            continue
        yield path.as_posix()


def _is_left_out(path: Path) -> bool:
    return any(part.endswith(_LEFT_OUT_SUFFIXES) for part in path.parts)


def _mark(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _MARK).read_text(encoding="utf-8"))["save"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _objects(files: _Files) -> set[str]:
    return {description["object"] for description in files.values()}
