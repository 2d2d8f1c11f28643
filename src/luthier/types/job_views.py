"""What Luthier's own routes say of a job beyond OpenAI's object: progress, place in the queue, curves."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.fine_tuning import FineTuningJob
from luthier.types.job_options import MAX_PRIORITY


class Progress(Response):
    """`losses`: the training loss at evenly spaced steps up to `step`, for a sparkline."""

    step: int
    total_steps: int
    losses: list[float]


class QueuePlace(Response):
    """`ahead`: jobs that run or start before this one. `estimated_start`: Unix seconds, null where unknown."""

    ahead: int
    estimated_start: int | None


class SetPriorityRequest(Request):
    """Jobs with a higher priority start first; 0 is that of a job without one."""

    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]


class JobView(Response):
    """`base`: the name of the weights that are trained, as `x-luthier-served-by` has it. `failure`: why the job failed,
    in the language of the request.
    """

    id: str
    object: Literal["luthier.job"] = "luthier.job"
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
