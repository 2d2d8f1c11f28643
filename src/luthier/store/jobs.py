"""Fine-tuning jobs: rows, events, checkpoints. The job table is a queue (`luthier.store.work_queue`).

A change of a job's status and the event that reports it are one transaction.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, insert, select

from luthier.store.database import Database, checkpoints, events, insert_once, jobs
from luthier.store.job_records import Event, Job, checkpoint, job_event
from luthier.store.json_filters import with_pairs, without_pairs
from luthier.store.json_text import storable
from luthier.store.key_quotas import charge_job
from luthier.store.pagination import Page, fetch_page
from luthier.store.request_ids import resource_id
from luthier.store.webhooks import announce
from luthier.store.work_queue import LeasedTable, QueuePart
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.fine_tuning import FINAL, OPEN, Checkpoint, FineTuningJob, JobEvent, JobStatus
from luthier.types.ids import new_id

_log = logging.getLogger(__name__)


class Jobs(QueuePart):
    def __init__(self, database: Database) -> None:
        self._database = database
        self.queue = LeasedTable(database, jobs)

    # -- for the API -----------------------------------------------------------------------------------------

    def create(self, **values: Any) -> FineTuningJob:
        """Create a job in `validating_files`, or return the one that an earlier attempt of the request created.

        Raises RateLimitError above the limit of the caller's key.
        """
        job_id = resource_id("ftjob-")
        row = {"id": job_id, "status": "validating_files", "created_at": now(), "result_files": [], **values}
        with self._database.write() as connection:
            if connection.scalar(select(jobs.c.seq).where(jobs.c.id == job_id)) is None:
                connection.execute(insert(jobs).values(**row, project=self._new_row_project))
                charge_job(connection, job_id)
                add_event(connection, job_id, Event(f"Created fine-tuning job: {job_id}"))
            created = self._find(connection, job_id).to_api()
        _log.info("%s is created: model %s, training file %s", job_id, created.model, created.training_file)
        return created

    def retrieve(self, job_id: str) -> FineTuningJob:
        """Raises NotFoundError in OpenAI's words."""
        return self.get(job_id).to_api()

    def get(self, job_id: str) -> Job:
        """All columns, those of the queue included. Raises NotFoundError."""
        with self._database.read() as connection:
            return self._find(connection, job_id)

    def list(
        self,
        *,
        limit: int,
        after: str | None,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[FineTuningJob]:
        """Newest first. `metadata`: only jobs with all of these pairs."""
        query = self._visible(jobs).where(with_pairs(jobs.c.metadata, metadata or {}))
        if without_metadata:
            query = query.where(without_pairs(jobs.c.metadata))
        with self._database.read() as connection:
            return fetch_page(connection, query, jobs, _api_job, limit=limit, after=after)

    def events(self, job_id: str, *, limit: int, after: str | None) -> Page[JobEvent]:
        """Newest first. Raises NotFoundError."""
        with self._database.read() as connection:
            self._find(connection, job_id)
            query = select(events).where(events.c.job_id == job_id)
            return fetch_page(connection, query, events, job_event, limit=limit, after=after)

    def messages(self, job_id: str, *, limit: int, after: str | None) -> Page[JobEvent]:
        """Events without metrics, the oldest first. Raises NotFoundError."""
        with self._database.read() as connection:
            self._find(connection, job_id)
            # Messages have no step, and the index by step finds them without a look at every step of a long job.
            query = select(events).where(events.c.job_id == job_id, events.c.step.is_(None), events.c.type == "message")
            return fetch_page(connection, query, events, job_event, limit=limit, after=after, ascending=True)

    def checkpoints(self, job_id: str, *, limit: int, after: str | None) -> Page[Checkpoint]:
        """Newest first. Raises NotFoundError."""
        with self._database.read() as connection:
            self._find(connection, job_id)
            query = select(checkpoints).where(checkpoints.c.job_id == job_id)
            return fetch_page(connection, query, checkpoints, checkpoint, limit=limit, after=after)

    def active(self) -> dict[str, int]:
        """The number of unfinished jobs per model, as the jobs echo it."""
        unfinished = self._visible(jobs).where(jobs.c.status.in_(OPEN)).subquery()
        query = select(unfinished.c.model, func.count()).group_by(unfinished.c.model)
        with self._database.read() as connection:
            return {model: count for model, count in connection.execute(query)}

    def count_by_status(self) -> dict[str, int]:
        with self._database.read() as connection:
            rows = connection.execute(select(jobs.c.status, func.count().label("jobs")).group_by(jobs.c.status))
            return {row.status: row.jobs for row in rows}

    def ids_with_status(self, status: JobStatus) -> Sequence[str]:
        with self._database.read() as connection:
            return connection.scalars(select(jobs.c.id).where(jobs.c.status == status)).all()

    def cancel(self, job_id: str) -> FineTuningJob:
        """Cancels an unfinished job; its worker notices at the next heartbeat.

        Raises NotFoundError; BadRequestError for a job that has finished.
        """
        job = self.retrieve(job_id)
        event, ended = Event("The job was cancelled"), {"finished_at": now(), "estimated_finish": None}
        if not self.transition(job_id, OPEN, "cancelled", event, release=False, **ended):
            status = self.retrieve(job_id).status
            raise BadRequestError(f"Job has already completed: {job.id} is {status}.", param="fine_tuning_job_id")
        return self.retrieve(job_id)

    def pause(self, job_id: str) -> None:
        """Pause a queued or running job after its current step, saving its state. Raises like `cancel`."""
        self._switch(job_id, ("queued", "running"), "paused", "The job was paused")

    def resume(self, job_id: str) -> None:
        """Return a paused job to the queue. Raises like `cancel`."""
        self._switch(job_id, ("paused",), "queued", "The job was resumed")

    def _switch(self, job_id: str, allowed: tuple[JobStatus, ...], to: JobStatus, message: str) -> None:
        """The worker keeps its lease until its trainer has exited, so that no second trainer can start."""
        job = self.retrieve(job_id)
        if not self.transition(job_id, allowed, to, Event(message), release=False, estimated_finish=None):
            status = self.retrieve(job_id).status
            verb = "paused" if to == "paused" else "resumed"
            raise BadRequestError(f"Job {job.id} is {status} and cannot be {verb}.", param="fine_tuning_job_id")

    # -- for workers -----------------------------------------------------------------------------------------

    def claim(
        self, owner: str, status: JobStatus, excluding: Collection[str] = (), *, job_id: str | None = None
    ) -> Job | None:
        """Leases `job_id`, else the oldest job in `status`, to `owner`; None when it cannot be claimed."""
        where = None if job_id is None else jobs.c.id == job_id
        row = self.queue.claim(owner, (status,), excluding=excluding, where=where)
        return Job.from_row(row) if row else None

    def requeue_lost(self, excluding: Collection[str] = ()) -> Sequence[str]:
        """Running jobs whose worker died return to the queue, where the next run resumes them; their ids."""
        message = "The worker stopped unexpectedly; the job is back in the queue and will resume"
        event = Event(message, level="warn")
        return self.queue.requeue_lost(
            "running",
            "queued",
            excluding=excluding,
            on_row=lambda connection, job_id: add_event(connection, job_id, event),
            estimated_finish=None,
        )

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
        """As `LeasedTable.transition`, with the event that reports the change; logged.

        The end of a job is told to webhook endpoints.
        """

        def report(connection: Connection, _: str) -> None:
            add_event(connection, job_id, event)
            if to in FINAL:
                announce(connection, self._find(connection, job_id).project, f"fine_tuning.job.{to}", job_id)

        is_changed = self.queue.transition(job_id, allowed, to, release=release, on_row=report, **values)
        if is_changed:
            _log.info("%s is %s: %s", job_id, to, event.message)
        return is_changed

    def record(self, job_id: str, *new: Event, **values: Any) -> None:
        """Record events of an unfinished job, and columns that change with them; ignored for a finished job."""
        unfinished = and_(self.queue.this(job_id), jobs.c.status.not_in(FINAL))
        add = partial(_add_events, new)
        self.queue.write(unfinished, job_id, add, seq=jobs.c.seq, **values)

    def finished(self) -> Sequence[str]:
        """The ids of finished jobs that no worker holds."""
        query = select(jobs.c.id).where(jobs.c.status.in_(FINAL), self.queue.unleased())
        with self._database.read() as connection:
            return connection.scalars(query).all()

    def unfinished_on(self, base: str) -> Sequence[str]:
        """The ids of unfinished jobs that train the base model `base`."""
        with self._database.read() as connection:
            unfinished = select(jobs.c.id).where(jobs.c.base == base, jobs.c.status.not_in(FINAL))
            return connection.scalars(unfinished).all()

    def last_step(self, job_id: str) -> int:
        """The latest step with a metrics event, 0 for none."""
        with self._database.read() as connection:
            return connection.scalar(select(func.max(events.c.step)).where(events.c.job_id == job_id)) or 0

    def count_events(self, job_id: str, key_prefix: str) -> int:
        """The number of events whose key begins with `key_prefix`."""
        keyed = events.c.key.startswith(key_prefix, autoescape=True)
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).where(events.c.job_id == job_id, keyed)) or 0

    def metrics(self, job_id: str) -> Sequence[dict[str, Any]]:
        """The data of every metrics event, by step."""
        query = select(events.c.data).where(events.c.job_id == job_id, events.c.type == "metrics")
        with self._database.read() as connection:
            return connection.scalars(query.order_by(events.c.step)).all()

    def _find(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(self._visible(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")
        return Job.from_row(row)


def _api_job(row: RowMapping) -> FineTuningJob:
    return Job.from_row(row).to_api()


def _add_events(new: Sequence[Event], connection: Connection, job_id: str) -> None:
    for event in new:
        add_event(connection, job_id, event)


def add_event(connection: Connection, job_id: str, event: Event) -> None:
    """Add an event inside a transaction that has locked the job. A step or key that already has an event keeps it."""
    row = {
        "id": new_id("ftevent-"),
        "job_id": job_id,
        "created_at": now(),
        "level": event.level,
        "type": event.type,
        "message": storable(event.message),
        "data": event.data,
        "step": event.step,
        "key": event.key,
    }
    if event.key is not None:
        recorded = select(events.c.seq).where(events.c.job_id == job_id, events.c.key == event.key).limit(1)
        if connection.scalar(recorded) is not None:
            return
    insert_once(connection, events, row, "job_id", "step")
