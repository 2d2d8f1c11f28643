"""The queue of jobs across projects: which job starts next, and when the others will, estimated from finished jobs."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, case, func, or_, select

from luthier.store.database import Database, events, files, jobs
from luthier.store.fair_order import RunningJob, WaitingJob, next_job, starts
from luthier.store.work_queue import LeasedTable
from luthier.types import job_options
from luthier.types.common import now
from luthier.types.fine_tuning import JobStatus

_WAITING = ("validating_files", "queued")
_SAMPLE = 5  # newest finished jobs of a base model that its rate is computed from
_SHARE_WINDOW_S = 24 * 3600  # training in this window counts for a project's share
_COLUMNS = [jobs.c[name] for name in ("id", "project", "metadata", "seq", "base", "training_file", "estimated_finish")]
_MAX_STEP_S = 900  # between two steps; a longer time was a pause or a stopped server


@dataclass(frozen=True)
class QueuePlace:
    """`ahead`: jobs of all projects that run or start before this one.

    `estimated_start`: Unix seconds; None if the duration of a job ahead is unknown because no job on its base model has
    finished here.
    """

    ahead: int
    estimated_start: int | None


class JobQueue:
    """Reads the jobs of all projects, but reveals only their number and duration."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_id(self, status: JobStatus, excluding: Collection[str] = ()) -> str | None:
        """The id of the job in `status` to claim next; None if none can be claimed.

        See `luthier.store.fair_order.next_job`. `excluding`: ids not to claim.
        """
        unleased = LeasedTable(self._database, jobs).unleased()
        query = select(*_COLUMNS).where(jobs.c.status == status, unleased, jobs.c.id.not_in(list(excluding)))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(jobs.c.seq)).mappings().all()
            if len(rows) < 2:  # polling an empty queue costs one query
                return rows[0]["id"] if rows else None
            running = Counter(row["project"] for row in _running(connection))
            chosen = next_job(_waiting(connection, rows), running, _trained_s(connection, rows))
        return chosen.id if chosen else None

    def places(self, trainers: int) -> dict[str, QueuePlace]:
        """The place of every waiting job, by job id, if `trainers` jobs run at a time."""
        with self._database.read() as connection:
            query = select(*_COLUMNS).where(jobs.c.status.in_(_WAITING)).order_by(jobs.c.seq)
            rows, running = connection.execute(query).mappings().all(), _running(connection)
            durations_s = _durations_s(connection, [*rows, *running])
            waiting = _waiting(connection, rows, durations_s)
            trained_s = _trained_s(connection, rows)
        begun = [RunningJob(row["project"], durations_s.get(row["id"])) for row in running]
        current = now()
        return {
            start.job_id: QueuePlace(start.ahead, None if start.after_s is None else round(current + start.after_s))
            for start in starts(waiting, begun, trained_s, trainers)
        }


def _running(connection: Connection) -> list[RowMapping]:
    return list(connection.execute(select(*_COLUMNS).where(jobs.c.status == "running")).mappings())


def _waiting(
    connection: Connection, rows: Collection[RowMapping], durations_s: dict[str, float] | None = None
) -> list[WaitingJob]:
    """The waiting jobs. Those that have completed a step were interrupted, by a stopped server or a pause."""
    ids = [row["id"] for row in rows]
    begun = set(connection.scalars(select(events.c.job_id).where(events.c.job_id.in_(ids), events.c.step == 1)))
    return [
        WaitingJob(
            id=row["id"],
            project=row["project"],
            priority=job_options.priority(row["metadata"]),
            number=row["seq"],
            has_begun=row["id"] in begun,
            duration_s=(durations_s or {}).get(row["id"]),
        )
        for row in rows
    ]


def _trained_s(connection: Connection, rows: Collection[RowMapping]) -> dict[str, float]:
    """Seconds of training in the last day, summed from step to step, for each project with waiting jobs; pauses do not
    count.

    Empty if only one project is waiting: the order does not matter then, and all steps of the day would have to be
    read.
    """
    projects = {row["project"] for row in rows}
    if len(projects) < 2:
        return {}
    since = now() - _SHARE_WINDOW_S
    step_before = func.lag(events.c.created_at).over(partition_by=events.c.job_id, order_by=events.c.seq)
    steps = (
        select(jobs.c.project, (events.c.created_at - step_before).label("seconds"))
        .join(jobs, jobs.c.id == events.c.job_id)
        .where(or_(jobs.c.finished_at.is_(None), jobs.c.finished_at > since))
        .where(events.c.type == "metrics", events.c.created_at > since, jobs.c.project.in_(projects))
        .subquery()
    )
    counted = case((steps.c.seconds < _MAX_STEP_S, steps.c.seconds), else_=0)
    query = select(steps.c.project, func.sum(counted).label("seconds")).group_by(steps.c.project)
    return {row.project: float(row.seconds or 0) for row in connection.execute(query)}


def _durations_s(connection: Connection, rows: Collection[RowMapping]) -> dict[str, float]:
    """The remaining seconds of each job, from its trainer's estimate or else from the size of its file; only known
    ones."""
    rates = {base: _seconds_per_byte(connection, base) for base in {row["base"] for row in rows}}
    sizes = _file_sizes(connection, [row["training_file"] for row in rows])
    durations_s = {row["id"]: _remaining_s(row, rates[row["base"]], sizes.get(row["training_file"])) for row in rows}
    return {job_id: seconds for job_id, seconds in durations_s.items() if seconds is not None}


def _remaining_s(row: RowMapping, seconds_per_byte: float | None, size_bytes: int | None) -> float | None:
    if row["estimated_finish"]:
        return max(0.0, float(row["estimated_finish"] - now()))
    return size_bytes * seconds_per_byte if size_bytes and seconds_per_byte else None


def _seconds_per_byte(connection: Connection, base: str) -> float | None:
    """Seconds from the first step to the end of a job per byte of its training file, over the last jobs on `base`."""
    first_step = and_(events.c.job_id == jobs.c.id, events.c.step == 1)
    query = (
        select((jobs.c.finished_at - events.c.created_at).label("seconds"), files.c.bytes)
        .join(events, first_step)
        .join(files, files.c.id == jobs.c.training_file)
        .where(jobs.c.base == base, jobs.c.status == "succeeded")
        .order_by(jobs.c.seq.desc())
        .limit(_SAMPLE)
        .subquery()
    )
    totals = select(func.sum(query.c.seconds).label("seconds"), func.sum(query.c.bytes).label("bytes"))
    row = connection.execute(totals).one()
    return float(row.seconds / row.bytes) if row.seconds and row.bytes else None


def _file_sizes(connection: Connection, file_ids: list[str]) -> dict[str, int]:
    rows = connection.execute(select(files.c.id, files.c.bytes).where(files.c.id.in_(file_ids)))
    return {row.id: row.bytes for row in rows}
