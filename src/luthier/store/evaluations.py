"""Evaluations: a row each, with its report when it is over. They go when their model goes.

The table is the queue of the one server of a data folder. A change of status is one guarded `UPDATE`. Knows nothing
about how a model is asked.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Integer,
    RowMapping,
    Select,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from luthier.store.database import Database, metadata, project_column
from luthier.store.pagination import Page, page
from luthier.store.project_scope import Scoped
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.evaluations import Evaluation, EvaluationStatus

evaluations = Table(
    "evaluations",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("model", Text, nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("validation_file", String(64)),
    Column("filename", Text),
    Column("against", JSON, nullable=False),
    Column("functions", Integer, nullable=False),
    Column("definitions", JSON, nullable=False),
    Column("limit", Integer),
    Column("max_tokens", Integer),
    Column("created_at", Integer, nullable=False),
    Column("finished_at", Integer),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("error", JSON),
    Column("headline", JSON),
    Column("report", JSON),
    project_column(),
)
_BRIEF = [column for column in evaluations.c if column.name != "report"]


class Evaluations(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    # -- what callers do -------------------------------------------------------------------------------------

    def create(self, *, status: EvaluationStatus = "queued", **values: Any) -> Evaluation:
        """To be run; or, with another status, one that is over."""
        evaluation_id = new_id("evaluation-")
        row = {"id": evaluation_id, "status": status, "created_at": now(), "project": self._home}
        row |= {"done": 0, "total": 0, **values} | ({} if status == "queued" else {"finished_at": now()})
        with self._database.write() as connection:
            connection.execute(insert(evaluations).values(**row))
            return _evaluation(self._row(connection, evaluation_id))

    def retrieve(self, evaluation_id: str) -> Evaluation:
        """With its report. Raises NotFoundError."""
        with self._database.read() as connection:
            return _evaluation(self._row(connection, evaluation_id))

    def list(self, *, model: str | None, limit: int, after: str | None) -> Page[Evaluation]:
        """Newest first, without their reports."""
        wanted = self._seen_briefly()
        wanted = wanted if model is None else wanted.where(evaluations.c.model == model)
        with self._database.read() as connection:
            return page(connection, wanted, evaluations, _evaluation, limit=limit, after=after)

    def cancel(self, evaluation_id: str) -> Evaluation:
        """Raises NotFoundError, and BadRequestError for one that is over."""
        with self._database.write() as connection:
            row = self._row(connection, evaluation_id)
            if row["status"] != "cancelled" and not _to(connection, evaluation_id, "cancelled"):
                raise BadRequestError(f"Cannot cancel an evaluation with status '{row['status']}'.")
            return _evaluation(self._row(connection, evaluation_id))

    def delete(self, evaluation_id: str) -> None:
        """Raises NotFoundError; one that is running ends."""
        with self._database.write() as connection:
            self._row(connection, evaluation_id)
            connection.execute(delete(evaluations).where(evaluations.c.id == evaluation_id))

    # -- what the runner does --------------------------------------------------------------------------------

    def next(self) -> RowMapping | None:
        """The oldest that waits; it is running now."""
        wanted = select(evaluations).where(evaluations.c.status == "queued").order_by(evaluations.c.seq).limit(1)
        with self._database.read() as connection:
            if connection.execute(wanted).first() is None:  # asking must not cost a write
                return None
        with self._database.write() as connection:
            row = connection.execute(wanted).mappings().first()
            if row:
                this = evaluations.c.id == row["id"]
                connection.execute(update(evaluations).where(this).values(status="running", done=0))
            return row

    def progress(self, evaluation_id: str, done: int, total: int) -> bool:
        """Whether it is still wanted."""
        this = (evaluations.c.id == evaluation_id) & (evaluations.c.status == "running")
        with self._database.write() as connection:
            return bool(connection.execute(update(evaluations).where(this).values(done=done, total=total)).rowcount)

    def finish(self, evaluation_id: str, status: EvaluationStatus, **values: Any) -> None:
        """Of one that was cancelled or deleted meanwhile nothing is kept."""
        with self._database.write() as connection:
            _to(connection, evaluation_id, status, **values)

    def start_over(self) -> None:
        """For the one server of a data folder, at its start: what was running runs again, from its beginning."""
        with self._database.write() as connection:
            running = evaluations.c.status == "running"
            connection.execute(update(evaluations).where(running).values(status="queued"))

    def _seen_briefly(self) -> Select[Any]:
        brief = select(*_BRIEF)
        return brief if self._project is None else brief.where(evaluations.c.project == self._project)

    def _row(self, connection: Connection, evaluation_id: str) -> RowMapping:
        row = connection.execute(self._seen(evaluations).where(evaluations.c.id == evaluation_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No such evaluation: {evaluation_id}", param="evaluation_id")
        return row


def _to(connection: Connection, evaluation_id: str, to: EvaluationStatus, **values: Any) -> bool:
    if to == "succeeded":
        values["done"] = evaluations.c.total
    going_on = (evaluations.c.id == evaluation_id) & evaluations.c.status.in_(("queued", "running"))
    changed = update(evaluations).where(going_on).values(status=to, finished_at=now(), **values)
    return bool(connection.execute(changed).rowcount)


def _evaluation(row: RowMapping) -> Evaluation:
    return Evaluation(**{key: row[key] for key in Evaluation.model_fields if key in row})
