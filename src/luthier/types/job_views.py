"""Responses of Luthier's own routes about a job, beyond OpenAI's object: progress, place in the queue, curves."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.fine_tuning import FineTuningJob, JobEvent
from luthier.types.job_options import MAX_PRIORITY


class Progress(Response):
    """`losses`: the training loss at evenly spaced steps up to `step`, for a sparkline."""

    step: int
    total_steps: int
    losses: list[float]


QueueReason = Literal["no_worker", "validating", "jobs_ahead", "next"]


class QueuePlace(Response):
    """`ahead`: jobs that run or start before this one. `estimated_start`: Unix seconds, null where unknown.

    `reason`: why the job waits: no worker runs on the data folder, a worker is checking its files, other jobs come
    first, or it starts next. `jobs_ahead`: the ids of the first of those that belong to the caller's project.
    """

    ahead: int
    estimated_start: int | None
    reason: QueueReason
    jobs_ahead: list[str]


class SetPriorityRequest(Request):
    """Jobs with a higher priority start first; 0 is that of a job without one."""

    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]


class JobView(Response):
    """`name`: set by a user later, null before. `base`: the name of the trained weights, as in `x-luthier-served-by`.
    `failure`: why the job failed, in the language of the request.
    """

    id: str
    object: Literal["luthier.job"] = "luthier.job"
    name: str | None
    job: FineTuningJob
    base: str
    progress: Progress | None
    queue: QueuePlace | None
    failure: str | None


class MetricSeries(Response):
    """Columns of equal length; `value[i]` is that of the step `step[i]`, `minimum` and `maximum` span its bucket."""

    step: list[int]
    value: list[float]
    minimum: list[float]
    maximum: list[float]


class JobMetrics(Response):
    object: Literal["luthier.job.metrics"] = "luthier.job.metrics"
    job_id: str
    series: dict[str, MetricSeries]


class JobUpdates(Response):
    """What is new of a job since a step and an event: `view` as it is now, `series` as of `JobMetrics`, and `events`
    without metrics, the oldest first. `has_more`: more events are left than the answer has room for.
    """

    object: Literal["luthier.job.updates"] = "luthier.job.updates"
    view: JobView
    series: dict[str, MetricSeries]
    events: list[JobEvent]
    has_more: bool


class UpdateJobRequest(Request):
    """`name`: null removes the name."""

    name: Annotated[str, Field(min_length=1, max_length=120)] | None


class JobDeleted(Response):
    """`models`: the names of the models that were deleted with it, checkpoints included."""

    id: str
    object: Literal["luthier.job.deleted"] = "luthier.job.deleted"
    deleted: Literal[True] = True
    models: list[str]


class JobGroup(Response):
    """`value`: the value of the metadata key; null for jobs without the key. `by_status`: the number of jobs by
    status."""

    value: str | None
    jobs: int
    by_status: dict[str, int]


class JobGroups(Response):
    """`keys`: all metadata keys of jobs. `data`: the groups by the values of the key `by`, the one with the newest
    job first."""

    object: Literal["luthier.job.groups"] = "luthier.job.groups"
    by: str | None
    keys: list[str]
    data: list[JobGroup]
