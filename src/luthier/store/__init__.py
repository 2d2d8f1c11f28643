"""Durable state. The only code that accesses the database and the blobs."""

from collections.abc import Iterator
from copy import copy
from pathlib import Path

from luthier.store.batches import Batches, ClaimedBatch
from luthier.store.blobs import Blobs
from luthier.store.database import Database
from luthier.store.evaluations import ClaimedEvaluation, Evaluations
from luthier.store.files import Files
from luthier.store.idempotency_keys import IdempotencyKeys
from luthier.store.imports import Imports
from luthier.store.job_records import Event, Job
from luthier.store.jobs import Jobs
from luthier.store.models import FineTunedModel, Models
from luthier.store.pagination import Page
from luthier.store.permissions import Permissions
from luthier.store.stored_completions import StoredCompletions
from luthier.store.uploads import Uploads
from luthier.store.work_queue import LeasedTable
from luthier.store.worker_locks import WorkerLocks

__all__ = [
    "ClaimedBatch",
    "ClaimedEvaluation",
    "Event",
    "FineTunedModel",
    "Job",
    "LeasedTable",
    "Page",
    "Store",
]


class Store:
    """All state, in one folder: `luthier.db`, `files/`, `uploads/` (parts), `models/` (adapters, and models after
    full fine-tuning), the working folders of `jobs/` and `batches/`, and `workers/` (locks).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._database = Database(folder / "luthier.db")
        self.files = Files(self._database, Blobs(folder / "files"))
        self.uploads = Uploads(self._database, Blobs(folder / "uploads"), self.files)
        self.batches = Batches(self._database, folder / "batches", self.files)
        self.evaluations = Evaluations(self._database)
        self.jobs = Jobs(self._database)
        self.models = Models(self._database, folder / "models")
        self.stored_completions = StoredCompletions(self._database)
        self.permissions = Permissions(self._database)
        self.idempotency_keys = IdempotencyKeys(self._database)
        self.workers = WorkerLocks(folder / "workers")
        self.files.delete_orphans()
        self.uploads.delete_orphans()

    def within(self, project: str | None) -> "Store":
        """The same store, scoped to `project`; None: all projects. Only the original store is closed."""
        scoped = copy(self)
        scoped.files, scoped.uploads = self.files.within(project), self.uploads.within(project)
        scoped.batches, scoped.evaluations = self.batches.within(project), self.evaluations.within(project)
        scoped.stored_completions = self.stored_completions.within(project)
        scoped.jobs, scoped.models = self.jobs.within(project), self.models.within(project)
        return scoped

    def imports(self) -> Imports:
        """Adds files and jobs of another service, to the project that this store is scoped to."""
        return Imports(self._database, Blobs(self._folder / "files")).within(self.files.project)

    def release_dead_workers(self) -> None:
        """Ends the leases of workers on this data folder whose process has ended."""
        for worker_id in self.workers.collect_dead():
            for queue in (self.jobs.queue, self.batches.queue, self.evaluations.queue):
                queue.release_worker(worker_id)

    def delete_expired(self) -> None:
        """Deletes expired files, uploads and stored completions."""
        self.files.delete_expired()
        self.uploads.delete_expired()
        self.stored_completions.delete_expired()

    @property
    def models_folder(self) -> Path:
        return self._folder / "models"

    def job_folder(self, job_id: str) -> Path:
        """The folder that a job's trainer works in. Raises NotFoundError."""
        folder = self._folder / "jobs" / self.jobs.get(job_id).id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finished_job_folders(self) -> Iterator[Path]:
        """Folders of finished jobs that no worker holds; a job that was cancelled while queued was never cleared."""
        for job_id in self.jobs.finished():
            folder = self._folder / "jobs" / job_id
            if folder.exists():
                yield folder

    def close(self) -> None:
        self._database.close()
