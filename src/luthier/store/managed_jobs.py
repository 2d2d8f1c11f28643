"""Managing jobs: lists by condition, groups, names, deletion."""

from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, select, update

from luthier.store.database import Database, events, jobs
from luthier.store.job_records import Job
from luthier.store.job_selection import JobGroups, JobSelection, job_groups
from luthier.store.models import Models
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.work_queue import LeasedTable
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL, JobStatus

_PARAM = "fine_tuning_job_id"


class ManagedJobs(Scoped):
    def __init__(self, database: Database) -> None:
        self._database, self._queue = database, LeasedTable(database, jobs)

    def list(self, *, limit: int, after: str | None, selection: JobSelection) -> Page[Job]:
        """All columns; newest first."""
        query = self._visible(jobs).where(selection.condition())
        with self._database.read() as connection:
            return fetch_page(connection, query, jobs, Job.from_row, limit=limit, after=after)

    def statuses(self, among: Collection[JobStatus], *, limit: int) -> dict[str, JobStatus]:
        """The status, by id, of up to `limit` jobs in one of these statuses, newest first."""
        query = self._visible(jobs).with_only_columns(jobs.c.id, jobs.c.status).where(jobs.c.status.in_(among))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.seq.desc()).limit(limit))
            return {job_id: status for job_id, status in rows}

    def groups(self, key: str | None) -> JobGroups:
        """Group the jobs by the value of the metadata key `key`; without a key, return only the existing keys."""
        with self._database.read() as connection:
            return job_groups(connection, self._visible(jobs), key)

    def rename(self, job_id: str, name: str | None) -> Job:
        """Set or remove the display name of a job; its models keep their names. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(name=name))
            return self._find(connection, job_id)

    def delete(self, job_id: str, models: Models, *, with_models: bool) -> Sequence[Path]:
        """Delete the row and events of a finished job and, `with_models`, its models and checkpoints: all or nothing.

        Returns the folders of the deleted models. Raises NotFoundError; BadRequestError for a job that has not
        finished, whose trainer has not exited, that has models although `with_models` is false, or whose models are in
        use.
        """
        left = models.of_job(job_id)
        if left and not with_models:
            count = "1 model" if len(left) == 1 else f"{len(left)} models, checkpoints included"
            message = f"Job {job_id} has {count}. Send models=true to delete the job and all of its models."
            raise BadRequestError(message, param="models", code="job_has_models")
        names = [model.id for model in left]
        models.delete_together(left, also=lambda connection: self._delete_rows(connection, job_id, names))
        return [model.adapter for model in left]

    def _delete_rows(self, connection: Connection, job_id: str, models: Collection[str]) -> None:
        job = self._find(connection, job_id)
        if job.status not in FINAL:
            message = f"Job {job_id} is {job.status}. Cancel it before you delete it."
            raise BadRequestError(message, param=_PARAM, code="job_not_finished")
        continuing = select(jobs.c.id).where(jobs.c.parent.in_(models), jobs.c.status.not_in(FINAL)).limit(1)
        if dependent := connection.scalar(continuing):
            message = f"Job {dependent} continues from a model of job {job_id}. Cancel it, or wait until it has ended."
            raise BadRequestError(message, param="models", code="model_in_use")
        connection.execute(delete(events).where(events.c.job_id == job_id))
        if not connection.execute(delete(jobs).where(jobs.c.id == job_id, self._queue.unleased())).rowcount:
            message = f"The trainer of job {job_id} is still being stopped. Delete the job again in a moment."
            raise BadRequestError(message, param=_PARAM, code="job_not_finished")

    def _find(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(self._visible(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")
        return Job.from_row(row)
