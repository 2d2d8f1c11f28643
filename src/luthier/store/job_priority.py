"""Changing the priority of a waiting job."""

from luthier.store.job_records import Event
from luthier.store.jobs import Jobs
from luthier.types import job_options
from luthier.types.common import MAX_PAIRS
from luthier.types.errors import BadRequestError
from luthier.types.fine_tuning import FINAL


def set_priority(jobs: Jobs, job_id: str, priority: int) -> None:
    """Set the priority of an unfinished job in its metadata. Raises the same errors as `Jobs.cancel`."""
    job = jobs.get(job_id)
    if job.status in FINAL:
        message = f"Job has already completed: {job.id} is {job.status}."
        raise BadRequestError(message, param="fine_tuning_job_id")
    pairs = {**(job.metadata or {}), job_options.PRIORITY: str(priority)}
    if len(pairs) > MAX_PAIRS:
        message = f"The metadata of {job_id} already has {MAX_PAIRS} pairs, so there is no room for a priority."
        raise BadRequestError(message, param="metadata", code="invalid_value")
    jobs.record(job_id, Event(f"The priority of the job is now {priority}"), metadata=pairs)
