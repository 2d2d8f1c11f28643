"""The only code that touches the database or the blobs."""

from collections.abc import Iterator
from copy import copy
from pathlib import Path

from luthier.store.batches import Batches, ClaimedBatch
from luthier.store.blobs import Blobs
from luthier.store.database import Database
from luthier.store.evaluations import ClaimedEvaluation, Evaluations
from luthier.store.files import Files
from luthier.store.idempotency_keys import Replays
from luthier.store.job_records import Event, Job
from luthier.store.jobs import Jobs
from luthier.store.models import FineTunedModel, Models
from luthier.store.pagination import Page
from luthier.store.permissions import Permissions
from luthier.store.stored_completions import Completions
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
        self._database = Database(folder / "luthier.db")
        self._jobs_folder = folder / "jobs"
        self.files = Files(self._database, Blobs(folder / "files"))
        self.uploads = Uploads(self._database, Blobs(folder / "uploads"), self.files)
        self.batches = Batches(self._database, folder / "batches", self.files)
        self.evaluations = Evaluations(self._database)
        self.jobs = Jobs(self._database)
        self.models_folder = folder / "models"
        self.models = Models(self._database, self.models_folder)
        self.completions = Completions(self._database)
        self.permissions = Permissions(self._database)
        self.replays = Replays(self._database)
        self.workers = WorkerLocks(folder / "workers")
        self.files.sweep()
        self.uploads.sweep()

    def within(self, project: str | None) -> "Store":
        """The same state as `project` sees it: what belongs to another is not found. None: everything.

        For a request or a job; the store itself is the one to close.
        """
        seen = copy(self)
        seen.files, seen.uploads = self.files.within(project), self.uploads.within(project)
        seen.batches = self.batches.within(project)
        seen.evaluations = self.evaluations.within(project)
        seen.completions = self.completions.within(project)
        seen.jobs, seen.models = self.jobs.within(project), self.models.within(project)
        return seen

    def release_dead_workers(self) -> None:
        """Ends the leases of workers on this data folder whose process has ended."""
        for worker_id in self.workers.collect_dead():
            for queue in (self.jobs.queue, self.batches.queue, self.evaluations.queue):
                queue.release_worker(worker_id)

    def delete_expired(self) -> None:
        """Deletes expired files, uploads and stored completions."""
        self.files.delete_expired()
        self.uploads.tidy()
        self.completions.delete_expired()

    def job_folder(self, job_id: str) -> Path:
        """Where a job's trainer works; `job_id` must be one that the store handed out."""
        folder = self._jobs_folder / self.jobs.get(job_id).id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finished_job_folders(self) -> Iterator[Path]:
        """Folders of jobs that are over; one that ended in the hands of no worker was never tidied."""
        for job_id in self.jobs.finished():
            folder = self._jobs_folder / job_id
            if folder.exists():
                yield folder

    def close(self) -> None:
        self._database.close()
