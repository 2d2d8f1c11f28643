"""Fine-tuning jobs: rows, events, checkpoints. The job table is the queue.

Every change of state is one guarded `UPDATE ... WHERE status IN (...)` and one event row in the same transaction,
so that two workers, or a worker and a caller, can never both win. Knows nothing about how a job is run.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, insert, or_, select, update

from luthier.store.database import Database, checkpoints, events, jobs
from luthier.store.job_records import Event, Job, checkpoint, job_event
from luthier.store.json_filters import with_pairs, without_pairs
from luthier.store.pagination import Page, page
from luthier.store.project_scope import Scoped
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL, OPEN, Checkpoint, FineTuningJob, JobEvent, JobStatus

LEASE_S = 30.0  # a worker that says nothing for so long has lost its job
_RENEW_AFTER_S = 5.0  # a heartbeat before that only reads, and costs no write to the disk


class Jobs(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- what callers do -------------------------------------------------------------------------------------

    def create(self, **values: Any) -> FineTuningJob:
        """A new job in `validating_files`, with its first event."""
        job_id = new_id("ftjob-")
        row = {"id": job_id, "status": "validating_files", "created_at": now(), "result_files": [], **values}
        with self._database.write() as connection:
            connection.execute(insert(jobs).values(**row, project=self._home))
            add_event(connection, job_id, Event(f"Created fine-tuning job: {job_id}"))
            return self._job(connection, job_id).to_api()

    def retrieve(self, job_id: str) -> FineTuningJob:
        """Raises NotFoundError in OpenAI's words."""
        return self.get(job_id).to_api()

    def get(self, job_id: str) -> Job:
        """All columns, those of the queue included. Raises NotFoundError."""
        with self._database.read() as connection:
            return self._job(connection, job_id)

    def list(
        self,
        *,
        limit: int,
        after: str | None,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[FineTuningJob]:
        """`metadata`: pairs that the jobs have."""
        query = self._seen(jobs).where(with_pairs(jobs.c.metadata, metadata or {}))
        if without_metadata:
            query = query.where(without_pairs(jobs.c.metadata))
        with self._database.read() as connection:
            return page(connection, query, jobs, _api_job, limit=limit, after=after)

    def events(self, job_id: str, *, limit: int, after: str | None) -> Page[JobEvent]:
        """Newest first. Raises NotFoundError."""
        with self._database.read() as connection:
            self._job(connection, job_id)
            query = select(events).where(events.c.job_id == job_id)
            return page(connection, query, events, job_event, limit=limit, after=after)

    def checkpoints(self, job_id: str, *, limit: int, after: str | None) -> Page[Checkpoint]:
        """Newest first. Raises NotFoundError."""
        with self._database.read() as connection:
            self._job(connection, job_id)
            query = select(checkpoints).where(checkpoints.c.job_id == job_id)
            return page(connection, query, checkpoints, checkpoint, limit=limit, after=after)

    def active(self) -> dict[str, int]:
        """How many jobs are not over, by the model that they echo."""
        seen = self._seen(jobs).where(jobs.c.status.in_(OPEN)).subquery()
        query = select(seen.c.model, func.count()).group_by(seen.c.model)
        with self._database.read() as connection:
            return {model: count for model, count in connection.execute(query)}

    def cancel(self, job_id: str) -> FineTuningJob:
        """Any job that is not over becomes `cancelled`; its worker notices at its next heartbeat.

        Raises NotFoundError; BadRequestError for a job that is over.
        """
        job = self.retrieve(job_id)
        event = Event("The job was cancelled")
        if not self.transition(job_id, OPEN, "cancelled", event, finished_at=now(), estimated_finish=None):
            status = self.retrieve(job_id).status
            raise BadRequestError(f"Job has already completed: {job.id} is {status}.", param="fine_tuning_job_id")
        return self.retrieve(job_id)

    def pause(self, job_id: str) -> None:
        """A waiting or running job stops after its step, with its state saved. Raises as `cancel` does."""
        self._switch(job_id, ("queued", "running"), "paused", "The job was paused")

    def resume(self, job_id: str) -> None:
        """A paused job goes back into the queue. Raises as `cancel` does."""
        self._switch(job_id, ("paused",), "queued", "The job was resumed")

    def _switch(self, job_id: str, allowed: tuple[JobStatus, ...], to: JobStatus, said: str) -> None:
        """The worker that holds the job keeps it until its trainer has ended, so that no second one can start."""
        job = self.retrieve(job_id)
        if not self.transition(job_id, allowed, to, Event(said), release=False, estimated_finish=None):
            status = self.retrieve(job_id).status
            verb = "paused" if to == "paused" else "resumed"
            raise BadRequestError(f"Job {job.id} is {status} and cannot be {verb}.", param="fine_tuning_job_id")

    # -- what workers do -------------------------------------------------------------------------------------

    def claim(self, owner: str, status: JobStatus) -> Job | None:
        """The oldest job in `status` that nobody holds, leased to `owner`; None when there is none."""
        free = or_(jobs.c.owner.is_(None), jobs.c.lease_until < time.time())
        oldest = select(jobs.c.id).where(jobs.c.status == status, free).order_by(jobs.c.seq).limit(1)
        with self._database.write() as connection:
            job_id = connection.scalar(oldest.with_for_update(skip_locked=True))
            if job_id is None:
                return None
            lease = {"owner": owner, "lease_until": time.time() + LEASE_S}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**lease))
            return self._job(connection, job_id)

    def heartbeat(self, job_id: str, owner: str) -> JobStatus | None:
        """Renews the lease; returns the job's status, or None when `owner` no longer holds it."""
        held = and_(jobs.c.id == job_id, jobs.c.owner == owner)
        due = jobs.c.lease_until < time.time() + LEASE_S - _RENEW_AFTER_S
        with self._database.write() as connection:
            connection.execute(update(jobs).where(held, due).values(lease_until=time.time() + LEASE_S))
            status: JobStatus | None = connection.scalar(select(jobs.c.status).where(held))
            return status

    def forget_workers(self) -> None:
        """No worker of before lives: what the owner of a data folder knows when it starts."""
        with self._database.write() as connection:
            connection.execute(update(jobs).values(owner=None, lease_until=None))

    def requeue_lost(self) -> Sequence[str]:
        """Running jobs whose worker has gone return to the queue, where the next run resumes them."""
        lost = and_(jobs.c.status == "running", or_(jobs.c.owner.is_(None), jobs.c.lease_until < time.time()))
        with self._database.write() as connection:
            ids = connection.scalars(select(jobs.c.id).where(lost)).all()
            for job_id in ids:
                values = {"status": "queued", "owner": None, "estimated_finish": None}
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
                message = "The worker stopped without a word; the job is back in the queue and will go on from there"
                add_event(connection, job_id, Event(message, level="warn"))
        return ids

    def release(self, job_id: str, owner: str) -> None:
        """`owner` is done with the job; whoever comes next may claim it at once."""
        held = and_(jobs.c.id == job_id, jobs.c.owner == owner)
        with self._database.write() as connection:
            connection.execute(update(jobs).where(held).values(owner=None, lease_until=None))

    def transition(
        self,
        job_id: str,
        allowed: Sequence[JobStatus],
        to: JobStatus,
        event: Event,
        *,
        release: bool = True,
        **values: Any,
    ) -> bool:
        """From one of `allowed` to `to`, with its event; False when the job was in another state.

        With `release` the worker's lease ends with the old state.
        """
        if release:
            values |= {"owner": None, "lease_until": None}
        with self._database.write() as connection:
            guarded = update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_(list(allowed)))
            if connection.execute(guarded.values(status=to, **values)).rowcount == 0:
                return False
            add_event(connection, job_id, event)
            return True

    def record(self, job_id: str, *new: Event, **values: Any) -> None:
        """Events of a job that is not over, and columns that change with them; nothing once it is over."""
        with self._database.write() as connection:
            guarded = update(jobs).where(jobs.c.id == job_id, jobs.c.status.not_in(FINAL))
            if connection.execute(guarded.values(seq=jobs.c.seq, **values)).rowcount:
                for event in new:
                    add_event(connection, job_id, event)

    def finished(self) -> Sequence[str]:
        """The ids of jobs that are over and that no worker holds."""
        with self._database.read() as connection:
            return connection.scalars(select(jobs.c.id).where(jobs.c.status.in_(FINAL), jobs.c.owner.is_(None))).all()

    def open_on(self, base: str) -> Sequence[str]:
        """Jobs on a base model that are not over."""
        with self._database.read() as connection:
            open_jobs = select(jobs.c.id).where(jobs.c.base == base, jobs.c.status.not_in(FINAL))
            return connection.scalars(open_jobs).all()

    def last_step(self, job_id: str) -> int:
        """The newest step on record, 0 for none."""
        with self._database.read() as connection:
            return connection.scalar(select(func.max(events.c.step)).where(events.c.job_id == job_id)) or 0

    def metrics(self, job_id: str) -> Sequence[dict[str, Any]]:
        """The data of every metrics event, by step."""
        query = select(events.c.data).where(events.c.job_id == job_id, events.c.type == "metrics")
        with self._database.read() as connection:
            return connection.scalars(query.order_by(events.c.step)).all()

    def _job(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(self._seen(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")
        return Job.from_row(row)


def _api_job(row: RowMapping) -> FineTuningJob:
    return Job.from_row(row).to_api()


def add_event(connection: Connection, job_id: str, event: Event) -> None:
    """Inside a transaction of the store; a step already recorded is left as it is."""
    row = {
        "id": new_id("ftevent-"),
        "job_id": job_id,
        "created_at": now(),
        "level": event.level,
        "type": event.type,
        "message": event.message,
        "data": event.data,
        "step": event.step,
    }
    if event.step is not None:
        known = select(events.c.seq).where(events.c.job_id == job_id, events.c.step == event.step)
        if connection.scalar(known) is not None:
            return
    connection.execute(insert(events).values(**row))
