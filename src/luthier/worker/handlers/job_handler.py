"""Fine-tuning jobs: one handler per status, which records every outcome as the job's next status."""

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from sqlalchemy.exc import OperationalError

from luthier.store import Event, Job
from luthier.store.jobs import Jobs
from luthier.store.outages import is_outage
from luthier.store.storage_faults import storage_fault
from luthier.types.errors import JobError, StaleClaimError
from luthier.types.fine_tuning import FINAL, OPEN, JobStatus
from luthier.types.storage_faults import FaultKind
from luthier.worker import job_messages, storage_retries
from luthier.worker.context import WorkerContext
from luthier.worker.handlers.validate_job import validate
from luthier.worker.lane import Claim
from luthier.worker.lease import Lease
from luthier.worker.side_by_side import TrainingMemory
from luthier.worker.training_run import MAX_ATTEMPTS, TrainingRun, delete_work_files

_log = logging.getLogger(__name__)
_BACKOFF_S = 2.0  # multiplied by the number of attempts
_UNWRITTEN_S = 5.0  # between two attempts to record the outcome of a job

RunJob = Callable[[Job, WorkerContext], None]


class JobHandler:
    """Runs `run` for jobs in `status`. Raising JobError fails the job; other errors are retried.

    With `memory`, jobs run concurrently, otherwise one at a time. The first job of the queue waits until its memory is
    free and no other job overtakes it, so that large jobs are not starved.
    """

    def __init__(
        self, context: WorkerContext, status: JobStatus, run: RunJob, memory: TrainingMemory | None = None
    ) -> None:
        self._context, self._status, self._run_job, self.name = context, status, run, status
        self._store, self._memory = context.store, memory
        self.concurrency = memory.most_jobs if memory else 1

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        if self._status == "queued":
            self._store.jobs.requeue_lost(excluding)
        job_id = self._store.job_queue.next_id(self._status, excluding)
        if job_id is None or (self._memory and not self._memory.has_room(self._store.jobs.get(job_id), excluding)):
            return None
        job = self._store.jobs.claim(owner, self._status, excluding, job_id=job_id)
        if job and self._memory:
            self._memory.starts(job)
        return Claim(job.id, lambda: self.run(job)) if job else None

    def run(self, job: Job) -> None:
        """Run one job, renewing its lease all the time, also while the model is verified after training.

        An error fails or retries this job and does not end the lane.
        """
        context = replace(self._context, store=self._store.holding(job.fencing_token))
        jobs = context.store.jobs
        try:
            with Lease(jobs.queue, job.id, job.owner, (self._status, "running")):
                self._run_or_record(job, context)
        except StaleClaimError as error:
            _log.warning("%s; this one leaves it alone", error)
            return
        finally:
            jobs.queue.release(job.id, job.owner)
        if jobs.get(job.id).status in FINAL:
            delete_work_files(self._store.job_folder(job.id))

    def _run_or_record(self, job: Job, context: WorkerContext) -> None:
        """Raises StaleClaimError."""
        jobs = context.store.jobs
        step_before = jobs.last_step(job.id)
        try:
            self._run_job(job, context)
        except StaleClaimError:
            raise
        except JobError as error:
            _fail(jobs, job.id, error)
        except Exception as error:
            self._requeue_or_fail(jobs, job, step_before, error)

    def _requeue_or_fail(self, jobs: Jobs, job: Job, step_before: int, error: Exception) -> None:
        """By the time this can be written, an outage of the database is over, so the job neither waits nor counts as a
        failed attempt.

        For a worker that is stopped before anything can be written, the lease expires.
        """
        kind = storage_fault(error)
        if kind is None:
            _log.exception("job %s met an unexpected error", job.id)
            self._retry(jobs, job, step_before, error)
            return
        while True:
            try:
                if is_outage(error):
                    attempts = 0 if jobs.last_step(job.id) > step_before else job.attempts
                    self._requeue(jobs, job, job_messages.DATABASE_BACK, attempts)
                else:
                    _wait_for_storage(jobs, job, kind, error)
                return
            except OperationalError as unwritten:  # for example if the database is on the same disk
                _log.warning("job %s cannot be requeued; it is tried again: %s", job.id, unwritten.orig)
            if self._context.stop.wait(_UNWRITTEN_S):
                return

    def _retry(self, jobs: Jobs, job: Job, step_before: int, error: Exception) -> None:
        """Requeue the job after an error that may be transient, such as an unreadable file.

        The job fails after MAX_ATTEMPTS attempts without a step after `step_before`.
        """
        attempts = 1 if jobs.last_step(job.id) > step_before else job.attempts + 1
        description = f"{type(error).__name__}: {error}"
        if attempts >= MAX_ATTEMPTS:
            _fail(jobs, job.id, JobError("server_error", f"The server met an error {attempts} times: {description}"))
            return
        self._context.stop.wait(_BACKOFF_S * attempts)
        event = Event(f"The server encountered an error and will retry: {description}", level="warn")
        self._requeue(jobs, job, event, attempts)

    def _requeue(self, jobs: Jobs, job: Job, event: Event, attempts: int) -> None:
        to: JobStatus = "validating_files" if job.status == "validating_files" else "queued"
        jobs.transition(job.id, (to, "running"), to, event, attempts=attempts, estimated_finish=None)


def _wait_for_storage(jobs: Jobs, job: Job, kind: FaultKind, error: Exception) -> None:
    try:
        storage_retries.requeue(jobs, job, kind, error)
    except JobError as failure:
        _fail(jobs, job.id, failure)


def _fail(jobs: Jobs, job_id: str, error: JobError) -> None:
    """Mark the job as failed. As at OpenAI, it then has no model and no result file, and `auto` is not resolved."""
    event = Event(f"The job failed: {error.message}", level="error")
    body = {"code": error.code, "message": error.message, "param": error.param}
    jobs.transition(job_id, OPEN, "failed", event, error=body, estimated_finish=None)


def validate_job(job: Job, context: WorkerContext) -> None:
    """`validating_files` to `queued`. Raises JobError."""
    store = context.store
    store.models.make_base_local(job.base)
    validate(job, store, context.catalogue, context.settings.lora_targets)
    store.job_states.save(job.id, job.fencing_token, store.job_folder(job.id))
    event = Event("Files validated, moving job to queued state")
    store.jobs.transition(job.id, ("validating_files",), "queued", event)


def train_job(job: Job, context: WorkerContext) -> None:
    """`queued` through `running` to `succeeded`, or back to `queued`. Raises JobError."""
    TrainingRun(job, context).run()
