"""Waits and retries of a job that meets a full or read-only disk, or a database or bucket that cannot be written.

It waits in the queue, longer each time, while other jobs run. Retries are counted through the events that report them,
so that another worker continues the count, which restarts after a training step.
"""

import logging
from dataclasses import replace

from sqlalchemy.exc import OperationalError

from luthier.store import Job
from luthier.store.jobs import Jobs
from luthier.types.errors import JobError
from luthier.types.fine_tuning import JobStatus
from luthier.types.storage_faults import FaultKind
from luthier.worker import job_messages

_log = logging.getLogger(__name__)
_WAITS_MIN = (1, 2, 5, 10, 20, 30)


def requeue(jobs: Jobs, job: Job, kind: FaultKind, error: Exception) -> None:
    """Let the job wait in the status in which it was claimed. Raises JobError after the last wait."""
    cause = error.orig if isinstance(error, OperationalError) else error  # without the statement
    _log.warning("job %s met a fault of the storage: %s", job.id, cause)
    series = f"storage/{job.status}/{jobs.last_step(job.id)}/"
    waits = jobs.count_events(job.id, series)
    if waits == len(_WAITS_MIN):
        raise JobError("storage_unavailable", job_messages.storage_unavailable(waits, sum(_WAITS_MIN), kind, cause))
    event = job_messages.waits_for_storage(_WAITS_MIN[waits], waits + 1, len(_WAITS_MIN), kind, cause)
    to: JobStatus = "validating_files" if job.status == "validating_files" else "queued"
    jobs.transition(
        job.id,
        (to, "running"),
        to,
        replace(event, key=f"{series}{waits}"),
        estimated_finish=None,
        retry_after_s=60.0 * _WAITS_MIN[waits],
    )
