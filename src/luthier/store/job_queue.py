"""The place of waiting jobs in the queue, and when they will start, by what finished jobs took on this machine."""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, func, select

from luthier.store.database import Database, events, files, jobs
from luthier.types.common import now

_WAITING = ("validating_files", "queued")
_SAMPLE = 5  # finished jobs of a base model that its rate is taken from, the newest


@dataclass(frozen=True)
class QueuePlace:
    """`ahead`: jobs of all projects that run or start before this one.

    `estimated_start`: Unix seconds; None where the duration of a job ahead is unknown, since no job on its base model
    has finished here.
    """

    ahead: int
    estimated_start: int | None


class JobQueue:
    """Reads all projects' jobs, and gives away no more of them than their number and duration."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def places(self) -> dict[str, QueuePlace]:
        """The place of every job that waits, by job id."""
        running_first = jobs.c.status.in_(_WAITING), jobs.c.seq
        with self._database.read() as connection:
            query = select(jobs).where(jobs.c.status.in_((*_WAITING, "running"))).order_by(*running_first)
            rows = connection.execute(query).mappings().all()
            rates = {base: _seconds_per_byte(connection, base) for base in {row["base"] for row in rows}}
            sizes = _file_sizes(connection, [row["training_file"] for row in rows])
        places: dict[str, QueuePlace] = {}
        start: float | None = now()
        for ahead, row in enumerate(rows):
            if row["status"] != "running":
                places[row["id"]] = QueuePlace(ahead, None if start is None else round(start))
            duration_s = _remaining_s(row, rates[row["base"]], sizes.get(row["training_file"]))
            start = None if start is None or duration_s is None else start + duration_s
        return places


def _remaining_s(row: RowMapping, seconds_per_byte: float | None, size_bytes: int | None) -> float | None:
    if row["estimated_finish"]:
        return max(0.0, float(row["estimated_finish"] - now()))
    return size_bytes * seconds_per_byte if size_bytes and seconds_per_byte else None


def _seconds_per_byte(connection: Connection, base: str) -> float | None:
    """From the first step to the end of a job, per byte of its training file, over the last jobs on `base`."""
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
