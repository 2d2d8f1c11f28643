"""Leftovers that take space and may be deleted: no job, model, permission or alias refers to them.

Sizes are those on this machine's disk. Each leftover is checked again before it is deleted, since a server may be
running.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from sqlalchemy import and_, select

from luthier.store.database import Database, jobs, models
from luthier.store.evaluations import evaluations
from luthier.store.exports import exports
from luthier.store.models import Models
from luthier.store.permissions import permissions
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL
from luthier.types.names import TUNED

Kind = Literal["work-files", "logs", "kernels", "checkpoints", "exports"]
KINDS: tuple[Kind, ...] = ("work-files", "logs", "kernels", "checkpoints", "exports")
BY_NAME_ONLY: tuple[Kind, ...] = ("checkpoints", "exports")  # users may still need them
_LOG = "trainer.log"
_LINEAGE = ("job.json", "trainer.lock")  # of a finished job; the first documents how its model was trained
_UNUSED_S = 30 * 24 * 3600  # of a compiled kernel; it is recompiled in seconds if needed
_WRITING_S = 3600  # a folder that was changed more recently may be in use by a command
_EXPORT_WRITTEN_S = 600  # between the files of an export and its row


@dataclass(frozen=True)
class Leftover:
    """`name`: a job, a model or a file. `delete` frees the bytes; it returns False if the leftover is now in use."""

    kind: Kind
    name: str
    path: Path
    bytes: int
    delete: Callable[[], bool]


class Leftovers:
    """Leftovers of all projects, in the data folder `folder`."""

    def __init__(self, database: Database, folder: Path, checkpoint_models: Models) -> None:
        self._database, self._jobs_folder, self._models = database, folder / "jobs", checkpoint_models

    def find(self, cache: Path, alias_targets: Collection[str]) -> list[Leftover]:
        """Find leftovers, the largest first. `cache`: the cache folder; `alias_targets`: the targets of the aliases
        in the settings."""
        groups = (self._job_files(), _kernels(cache), self._checkpoints(alias_targets), self._exports())
        return sorted((leftover for group in groups for leftover in group), key=lambda leftover: -leftover.bytes)

    def _job_files(self) -> Iterator[Leftover]:
        """Files of finished jobs that no lineage needs, and folders of deleted jobs."""
        is_over = and_(jobs.c.status.in_(FINAL), jobs.c.owner.is_(None))  # a worker may be about to clear the folder
        with self._database.read() as connection:
            over = {row.id: row.is_over for row in connection.execute(select(jobs.c.id, is_over.label("is_over")))}
        for folder in sorted(self._jobs_folder.glob("ftjob-*")):
            if folder.name not in over:
                if time.time() - folder.stat().st_mtime > _WRITING_S:
                    yield _leftover("work-files", folder.name, folder)
            elif over[folder.name]:
                for path in sorted(folder.iterdir()):
                    if path.name not in _LINEAGE:
                        yield _leftover("logs" if path.name == _LOG else "work-files", folder.name, path)

    def _checkpoints(self, alias_targets: Collection[str]) -> Iterator[Leftover]:
        """Checkpoints of finished jobs, except their fine-tuned models."""
        unfinished = jobs.c.status.not_in(FINAL)
        query = (
            select(models.c.id)
            .join(jobs, jobs.c.id == models.c.job_id)
            .where(jobs.c.status.in_(FINAL), jobs.c.fine_tuned_model.is_distinct_from(models.c.id))
            .where(models.c.id.not_in(select(permissions.c.model)))
            .where(models.c.id.not_in(select(evaluations.c.model)))
            .where(models.c.id.not_in(select(jobs.c.parent).where(unfinished, jobs.c.parent.is_not(None))))
            .where((TUNED + models.c.adapter).not_in(select(jobs.c.base).where(unfinished)))
            .where((TUNED + models.c.adapter).not_in(select(models.c.base)))
            .order_by(models.c.seq)
        )
        with self._database.read() as connection:
            ids = set(connection.scalars(query))
        for model in self._models.list():
            if model.id in ids and not any(model.id in target for target in alias_targets):
                yield _leftover("checkpoints", model.id, model.adapter, partial(self._delete_model, model.id))

    def _delete_model(self, name: str) -> bool:
        try:
            self._models.delete(name)
        except (NotFoundError, BadRequestError):
            return False
        return True

    def _exports(self) -> Iterator[Leftover]:
        """Unmodified exports of existing models, so that each can be repeated."""
        query = select(exports.c.model, exports.c.folder, exports.c.created_at).order_by(exports.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(query.where(exports.c.model.in_(select(models.c.id)))).all()
        last_writes = {row.folder: row for row in rows}  # of several exports into one folder, the last one counts
        for row in last_writes.values():
            folder = Path(row.folder)
            files = [path for path in folder.rglob("*") if path.is_file()]
            if files and max(path.stat().st_mtime for path in files) <= row.created_at + _EXPORT_WRITTEN_S:
                yield _leftover("exports", row.model, folder)


def _kernels(cache: Path) -> Iterator[Leftover]:
    """Kernels compiled for former sources, compilers or CPUs: not loaded for a month."""
    for path in sorted((cache / "kernels").glob("*.so")):
        status = path.stat()
        if time.time() - max(status.st_atime, status.st_mtime) > _UNUSED_S:
            yield _leftover("kernels", path.name, path)


def _leftover(kind: Kind, name: str, path: Path, delete: Callable[[], bool] | None = None) -> Leftover:
    return Leftover(kind, name, path, _size(path), delete or partial(_delete, path))


def _delete(path: Path) -> bool:
    """Delete a path; one that no longer exists counts as deleted."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return True


def _size(path: Path) -> int:
    """Bytes that deleting a path frees; files with further hard links, such as a job's data, free nothing."""
    total = 0
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with suppress(FileNotFoundError):
            status = file.lstat()
            total += 0 if file.is_dir() or status.st_nlink > 1 else status.st_size
    return total
