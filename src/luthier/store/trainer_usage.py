"""Resource usage and speed of running trainers, for monitoring: written by workers, read by any server."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Column, Float, Table, delete, select, update

from luthier.store.column_types import Int64, short_text
from luthier.store.database import Database, insert_once, jobs, metadata

trainer_usage = Table(
    "trainer_usage",
    metadata,
    Column("job_id", short_text(64), primary_key=True),
    Column("tokens_per_second", Float),
    Column("resident_bytes", Int64),
    Column("gpu_bytes", Int64),
)
_RUNNING = select(jobs.c.id).where(jobs.c.status == "running")


@dataclass(frozen=True)
class Usage:
    """`tokens_per_second`: training speed over the last minute; None at the first step. `resident_bytes`: resident
    memory of all processes of the trainer; None if the system does not report it. `gpu_bytes`: GPU memory of its first
    process; None without a GPU.
    """

    tokens_per_second: float | None
    resident_bytes: int | None
    gpu_bytes: int | None


class TrainerUsage:
    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, job_id: str, usage: Usage) -> None:
        with self._database.write(exclusive=False) as connection:
            insert_once(connection, trainer_usage, {"job_id": job_id}, "job_id")
            connection.execute(update(trainer_usage).where(trainer_usage.c.job_id == job_id).values(asdict(usage)))

    def of_running(self) -> Mapping[str, Usage]:
        """The latest usage of each running job, by job id."""
        running = select(trainer_usage).where(trainer_usage.c.job_id.in_(_RUNNING))
        with self._database.read() as connection:
            rows = connection.execute(running).all()
        return {row.job_id: Usage(row.tokens_per_second, row.resident_bytes, row.gpu_bytes) for row in rows}

    def delete_ended(self) -> None:
        """Deletes the rows of jobs that do not run."""
        ended = trainer_usage.c.job_id.not_in(_RUNNING)
        with self._database.read() as connection:
            if connection.scalar(select(trainer_usage.c.job_id).where(ended).limit(1)) is None:
                return
        with self._database.write() as connection:
            connection.execute(delete(trainer_usage).where(ended))
