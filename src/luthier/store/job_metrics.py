"""The curves of a job: its metrics as columns, reduced to the number of points that a chart can show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, func, or_, select

from luthier.store.database import Database, events, jobs

SERIES = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
_STEPS_PER_QUERY = 1000


@dataclass(frozen=True)
class Series:
    """One metric, a point per bucket of steps.

    `value[i]` is the value at `step[i]`, the last step of bucket i that has one: the last point is the last step, not
    a mean. `minimum[i]` and `maximum[i]` are over the whole bucket.
    """

    step: list[int]
    value: list[float]
    minimum: list[float]
    maximum: list[float]


@dataclass(frozen=True)
class JobProgress:
    """The last step with metrics, the total number of steps, and the training loss at up to `points` steps."""

    step: int
    total_steps: int
    losses: list[float]


class JobMetrics:
    """Reads metrics events; the caller checks who may see a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_step_at(self, job_id: str) -> int:
        """When the latest metrics event was recorded, in Unix seconds; 0 for none."""
        query = select(func.max(events.c.created_at)).where(events.c.job_id == job_id, events.c.type == "metrics")
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def series(self, job_id: str, *, after: int, until: int | None = None, points: int) -> dict[str, Series]:
        """The metrics of the steps above `after` up to `until`; metrics without values in that range are omitted.

        Args:
            job_id: The job.
            after: The last step that the caller already has; 0 for all.
            until: The last step to read; None for the latest.
            points: The maximum number of buckets. With fewer steps, each step is a bucket.
        """
        with self._database.read() as connection:
            last = _last_step(connection, job_id)
            last = last if until is None else min(last, until)
            if last - after <= points:  # as requested by a page that watches a job
                return _every_step(connection, job_id, range(after, last))
            width = -(-(last - after) // points)
            return _bucketed(connection, job_id, range(after, last), width)

    def progress(self, job_ids: Sequence[str], *, points: int) -> dict[str, JobProgress]:
        """The progress of the jobs that have metrics. Reads `points` rows per job, however long the job is."""
        with self._database.read() as connection:
            last = _last_steps(connection, job_ids)
            steps_of = {job_id: _spread(step, points) for job_id, step in last.items() if step}
            if not steps_of:
                return {}
            chosen = or_(*(and_(events.c.job_id == job, events.c.step.in_(steps)) for job, steps in steps_of.items()))
            rows = connection.execute(
                select(events.c.job_id, events.c.step, events.c.data).where(chosen).order_by(events.c.step)
            ).all()
        by_job: dict[str, list[Mapping[str, float]]] = {}
        for job_id, _, data in rows:
            by_job.setdefault(job_id, []).append(data)
        return {
            job_id: JobProgress(
                step=last[job_id],
                total_steps=int(data[-1].get("total_steps") or last[job_id]),  # may be missing for imported jobs
                losses=[entry["train_loss"] for entry in data if "train_loss" in entry],
            )
            for job_id, data in by_job.items()
        }


def _last_step(connection: Connection, job_id: str) -> int:
    return connection.scalar(select(func.max(events.c.step)).where(events.c.job_id == job_id)) or 0


def _last_steps(connection: Connection, job_ids: Sequence[str]) -> dict[str, int]:
    """The last step of each job, in one query with an index lookup per job."""
    newest = select(func.max(events.c.step)).where(events.c.job_id == jobs.c.id).scalar_subquery()
    rows = connection.execute(select(jobs.c.id, newest).where(jobs.c.id.in_(job_ids)))
    return {job_id: step or 0 for job_id, step in rows}


def _spread(last: int, points: int) -> list[int]:
    """Up to `points` steps from 1 to `last`, evenly spaced, including both ends; for one point, only the last."""
    if last <= points:
        return list(range(1, last + 1))
    if points == 1:
        return [last]
    return sorted({1 + round(index * (last - 1) / (points - 1)) for index in range(points)})


def _every_step(connection: Connection, job_id: str, steps: range) -> dict[str, Series]:
    """One query for all metrics. `steps` as for `_bucketed`."""
    within = events.c.job_id == job_id, events.c.step > steps.start, events.c.step <= steps.stop
    rows = connection.execute(select(events.c.step, events.c.data).where(*within).order_by(events.c.step)).all()
    measured = {
        name: [(step, float(data[name])) for step, data in rows if data.get(name) is not None] for name in SERIES
    }
    return {
        name: Series([step for step, _ in points], *([value for _, value in points] for _ in range(3)))
        for name, points in measured.items()
        if points
    }


def _bucketed(connection: Connection, job_id: str, steps: range, width: int) -> dict[str, Series]:
    """One pass over the events for all metrics, then the events of the last steps.

    `steps` counts from 0: the steps from `steps.start + 1` to `steps.stop`, in buckets of `width`.
    """
    within = events.c.job_id == job_id, events.c.step > steps.start, events.c.step <= steps.stop
    bucket = (events.c.step - steps.start - 1) // width
    values = [events.c.data[name].as_float().label(name) for name in SERIES]
    # The offset keeps databases from folding this into the query around it, which would parse each value three times.
    parsed = select(events.c.step, bucket.label("bucket"), *values).where(*within).offset(0).subquery()
    columns = [
        column
        for value in (parsed.c[name] for name in SERIES)
        for column in (func.max(case((value.is_not(None), parsed.c.step))), func.min(value), func.max(value))
    ]
    query = select(*columns).group_by(parsed.c.bucket).order_by(parsed.c.bucket)
    buckets = connection.execute(query).all()
    data = _data_at(connection, job_id, sorted({step for row in buckets for step in row[::3] if step is not None}))
    series = {}
    for index, name in enumerate(SERIES):
        points = [row[3 * index : 3 * index + 3] for row in buckets if row[3 * index] is not None]
        if points:
            last, low, high = (list(column) for column in zip(*points, strict=True))
            series[name] = Series(last, [float(data[step][name]) for step in last], low, high)
    return series


def _data_at(connection: Connection, job_id: str, steps: Sequence[int]) -> dict[int, Mapping[str, float]]:
    data: dict[int, Mapping[str, float]] = {}
    for start in range(0, len(steps), _STEPS_PER_QUERY):
        chosen = events.c.step.in_(steps[start : start + _STEPS_PER_QUERY])
        rows = connection.execute(select(events.c.step, events.c.data).where(events.c.job_id == job_id, chosen))
        data.update((step, values) for step, values in rows)
    return data
