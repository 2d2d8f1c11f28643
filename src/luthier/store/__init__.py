"""Durable state. The only code that accesses the database and the blobs."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from luthier.language import say
from luthier.settings import Settings
from luthier.store.api_keys import StoredKey
from luthier.store.audit_log import AuditEntry
from luthier.store.backup import DATABASE, has_tables
from luthier.store.batches import Batches, ClaimedBatch
from luthier.store.blobs import FILES, UPLOADS, Blobs, BucketBlobs, FolderBlobs
from luthier.store.bucket import Bucket
from luthier.store.bucket_owner import claim_bucket, require_folder
from luthier.store.checksums import Checksums
from luthier.store.common_parts import CommonParts
from luthier.store.conversations import Conversations
from luthier.store.database import Backend, Database
from luthier.store.eval_items import StoredItem
from luthier.store.eval_runs import ClaimedRun, EvalRuns
from luthier.store.evals import Evals, StoredEval
from luthier.store.evaluations import ClaimedEvaluation, Evaluations
from luthier.store.files import Files
from luthier.store.imports import Imports
from luthier.store.job_records import Event, Job
from luthier.store.job_selection import JobGroups, JobSelection
from luthier.store.job_states import JobStates
from luthier.store.jobs import Jobs
from luthier.store.key_quotas import forget_deleted
from luthier.store.leftovers import Leftovers
from luthier.store.local_copies import LocalCopies
from luthier.store.managed_jobs import ManagedJobs
from luthier.store.model_folders import MODELS, ModelFolders
from luthier.store.models import FineTunedModel, Models
from luthier.store.outbox import Message
from luthier.store.pagination import Page, unknown_cursor
from luthier.store.postgres_backend import PostgresBackend
from luthier.store.responses import Responses, Retention
from luthier.store.sqlite_backend import SQLiteBackend
from luthier.store.stored_completions import StoredCompletions
from luthier.store.uploads import Uploads
from luthier.store.webhooks import StoredEndpoint, Webhooks
from luthier.store.work_queue import LeasedTable
from luthier.store.worker_locks import WorkerLocks, machine_id
from luthier.types.errors import LuthierError, NotFoundError

__all__ = [
    "AuditEntry",
    "ClaimedBatch",
    "ClaimedEvaluation",
    "ClaimedRun",
    "Event",
    "FineTunedModel",
    "Job",
    "JobGroups",
    "JobSelection",
    "LeasedTable",
    "Message",
    "Page",
    "Retention",
    "Store",
    "StoredEndpoint",
    "StoredEval",
    "StoredItem",
    "StoredKey",
    "unknown_cursor",
]


class Store(CommonParts):
    """All state in one folder: `luthier.db`, `files/`, `uploads/` (parts), `models/` (adapters and fully fine-tuned
    models), the working folders `jobs/` and `batches/`, and `workers/` (locks).

    With a bucket, files, parts, models and resume states are stored there, and the folder has copies of some of them.
    """

    def __init__(
        self, folder: Path, bucket: Bucket | None = None, *, max_copy_bytes: int = 0, url: str | None = None
    ) -> None:
        """`max_copy_bytes`: limit of the local copies of objects in `bucket`. `url`: a PostgreSQL database that servers
        on several machines share; None: SQLite in the folder.

        Raises LuthierError for a database that cannot be opened, is damaged or missing, and for a bucket that cannot
        be used.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        if url is None:
            _require_database(folder)
        else:
            _require_no_second_database(folder)
        backend: Backend = PostgresBackend(url) if url else SQLiteBackend(folder / DATABASE)
        self._database = Database(backend, lambda: _require_no_content(folder, backend.name))
        self._copies = LocalCopies(folder, bucket, max_copy_bytes) if bucket else None
        self.files = Files(self._database, self._blobs(FILES), self.checksums)
        self.uploads = Uploads(self._database, self._blobs(UPLOADS), self.files)
        self.batches = Batches(self._database, folder / "batches", self.files)
        self.evaluations = Evaluations(self._database)
        self.jobs = Jobs(self._database)
        self.models = Models(self._database, ModelFolders(self._database, self.models_folder, bucket))
        self.stored_completions = StoredCompletions(self._database)
        self.responses = Responses(self._database)
        self.workers = WorkerLocks(folder / "workers" / (machine_id() if url else ""))
        try:
            if bucket:
                claim_bucket(self._database, bucket, folder)
            else:  # a bucket is swept by `delete_expired`, since listing it takes time
                require_folder(self._database, folder)
                self._delete_orphans()
        except DatabaseError as error:
            raise self._database.opening_error(error) from error

    @property
    def is_shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.is_shared

    @classmethod
    def open(cls, settings: Settings) -> "Store":
        """Open the store of `settings`. Raises LuthierError."""
        bucket = Bucket.open(settings.blobs) if settings.blobs else None
        limit, url = settings.max_blob_copy_bytes, settings.store_url()
        return cls(settings.data, bucket, max_copy_bytes=limit, url=url)

    def within(self, project: str | None) -> "Store":
        """The same store, scoped to `project`; None: all projects. Only the original store is closed."""
        scoped = copy(self)
        scoped.files, scoped.uploads = self.files.within(project), self.uploads.within(project)
        scoped.batches, scoped.evaluations = self.batches.within(project), self.evaluations.within(project)
        scoped.stored_completions = self.stored_completions.within(project)
        scoped.responses = self.responses.within(project)
        scoped.jobs, scoped.models = self.jobs.within(project), self.models.within(project)
        return scoped

    def holding(self, token: int) -> "Store":
        """The same store for a worker's run of a job or a batch that it has claimed, see `LeasedTable.holding`.

        Writes to other work carry their owner, which identifies a single worker.
        """
        guarded = copy(self)
        guarded.jobs, guarded.batches = self.jobs.holding(token), self.batches.holding(token)
        return guarded

    def imports(self) -> Imports:
        """Access to importing files and jobs of another service into the project of this store."""
        return Imports(self._database, self._blobs(FILES)).within(self.files.project)

    def release_dead_workers(self) -> None:
        """Ends the leases of workers on this data folder whose process has ended."""
        for worker_id in self.workers.collect_dead():
            for part in (self.jobs, self.batches, self.evaluations, self.eval_runs, self.outbox):
                part.queue.release_worker(worker_id)

    def database_errors(self) -> list[str]:
        """What a check of the whole database finds."""
        return self._database.integrity_errors()

    def free_bytes(self) -> int:
        """Free bytes on the disk of the data folder."""
        return shutil.disk_usage(self._folder).free

    def count_writes(self) -> int:
        """A number that changes whenever this process has written to the database."""
        return self._database.write_count

    def delete_expired(self) -> None:
        """Delete expired objects and leftovers of crashes, and fold the log into the database file."""
        self.files.delete_expired()
        self.uploads.delete_expired()
        self.stored_completions.delete_expired()
        self.responses.delete_expired()
        self.models.delete_orphans()
        self.batches.delete_finished_folders()
        self.outbox.delete_old()
        forget_deleted(self._database)
        self.job_states.delete_finished()
        self.trainer_usage.delete_ended()
        if self._copies:
            self._delete_orphans()
            self._copies.evict(FILES, UPLOADS, MODELS)
        if self.is_shared:
            self.rate_limits.delete_full()
        self._database.tidy()

    def _delete_orphans(self) -> None:
        self.files.delete_orphans()
        self.uploads.delete_orphans()

    def _blobs(self, name: str) -> Blobs:
        """The blobs of one kind, under `name` in the data folder and in the bucket."""
        folder = self._folder / name
        return BucketBlobs(self._bucket, name, folder) if self._bucket else FolderBlobs(folder)

    @property
    def _bucket(self) -> Bucket | None:
        return self._copies.bucket if self._copies else None

    @property
    def checksums(self) -> Checksums:
        """Of files and models, of all projects."""
        return Checksums(self._database, self._folder, self._bucket)

    @property
    def managed_jobs(self) -> ManagedJobs:
        return ManagedJobs(self._database).within(self.jobs.project)

    def delete_job(self, job_id: str, *, with_models: bool) -> Sequence[Path]:
        """Delete a finished job with its events, result files and folder, and `with_models` its models.

        Training and validation files stay. Returns and raises as `ManagedJobs.delete` does.
        """
        job, folder = self.jobs.get(job_id), self.job_folder(job_id)
        model_folders = self.managed_jobs.delete(job_id, self.models, with_models=with_models)
        for file_id in job.result_files:
            with suppress(NotFoundError):  # deleted before
                self.files.delete(file_id)
        shutil.rmtree(folder, ignore_errors=True)
        return model_folders

    @property
    def conversations(self) -> Conversations:
        return Conversations(self._database).within(self.responses.project)

    @property
    def evals(self) -> Evals:
        return Evals(self._database).within(self.evaluations.project)

    @property
    def eval_runs(self) -> EvalRuns:
        return EvalRuns(self._database).within(self.evaluations.project)

    @property
    def webhooks(self) -> Webhooks:
        return Webhooks(self._database).within(self.responses.project)

    @property
    def job_states(self) -> JobStates:
        """Saved states of jobs of all projects, which let another worker continue a job."""
        return JobStates(self._database, self._bucket)

    @property
    def leftovers(self) -> Leftovers:
        """Leftovers of all projects that may be deleted."""
        return Leftovers(self._database, self._folder, self.models)

    @property
    def models_folder(self) -> Path:
        return self._folder / MODELS

    @property
    def trackers_folder(self) -> Path:
        """The folder of data that experiment trackers keep on this machine."""
        return self._folder / "trackers"

    def job_folder(self, job_id: str) -> Path:
        """The folder that a job's trainer works in. Raises NotFoundError."""
        folder = self._folder / "jobs" / self.jobs.get(job_id).id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finished_job_folders(self) -> Iterator[Path]:
        """Folders of finished jobs without a lease, to be cleared; a job may have been cancelled while queued."""
        for job_id in self.jobs.finished():
            folder = self._folder / "jobs" / job_id
            if folder.exists():
                yield folder

    def close(self) -> None:
        self._database.close()


def _content_of(folder: Path) -> str | None:
    """The name of a non-empty folder inside the data folder; None if there is none."""
    return next((name for name in (FILES, MODELS) if any((folder / name).glob("[!.]*"))), None)


def _require_no_content(folder: Path, database: str) -> None:
    """Raises LuthierError for a data folder that belongs to another database: its files would be taken for orphans."""
    name = _content_of(folder)
    if name:
        raise LuthierError(
            say(
                f"{folder} contains {name}, but the database {database} is empty: they do not belong together. Set "
                "`store` to the database of this folder, or use another --data folder.",
                f"{folder} 中有 {name}，而数据库 {database} 是空的：两者不是一套。请把 store "
                "设为该文件夹所用的数据库，或用 --data 指定别的文件夹。",
            )
        )


def _require_no_second_database(folder: Path) -> None:
    """Raises LuthierError for a data folder with an SQLite database if the setting `store` is PostgreSQL."""
    if (folder / DATABASE).exists():
        raise LuthierError(
            say(
                f"{folder} contains {DATABASE}, but the setting `store` is a PostgreSQL URL: a folder belongs to only "
                f"one of them. luthier store move --to URL moves the rows of {DATABASE} to an empty PostgreSQL "
                "database. If the data in PostgreSQL is newer, rename the file.",
                f"{folder} 中有 {DATABASE}，而设置 store 指定了 PostgreSQL：一个文件夹只属于其中之一。"
                f"luthier store move --to URL 可以把 {DATABASE} 中的数据移到空的 PostgreSQL；"
                "如果 PostgreSQL 中的数据更新，请给该文件改名。",
            )
        )


def _require_database(folder: Path) -> None:
    """Raises LuthierError for a data folder that has lost its database: an empty one would hide its contents."""
    if has_tables(folder / DATABASE):
        return
    name = _content_of(folder)
    if name:
        raise LuthierError(
            say(
                f"{folder} contains {name} but no database: {DATABASE} is missing or empty. Luthier does not replace "
                "it by an empty one. If the folder was copied, copy all of it (luthier backup), including "
                f"{DATABASE}-wal; otherwise restore a backup, or use another --data folder.",
                f"{folder} 中有 {name}，但没有数据库：{DATABASE} 缺失或为空。Luthier 不会用空数据库代替它。"
                f"如果文件夹是复制来的，请完整复制（luthier backup），包括 {DATABASE}-wal；"
                "否则请恢复备份，或用 --data 指定别的文件夹。",
            )
        )
