"""Evaluations: a row each, with the report once it has succeeded. Deleting a model deletes its evaluations.

The table is a queue (`luthier.store.work_queue`). An evaluation starts again from its first question if its worker
dies, and the number of starts is counted.
"""

from collections.abc import Collection
from typing import Any, TypeVar

from sqlalchemy import JSON, Column, Connection, RowMapping, Select, Table, delete, insert, select

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, lease_columns, metadata, project_column
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import resource_id
from luthier.store.work_queue import LeasedTable
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.evaluations import Evaluation, EvaluationStatus

evaluations = Table(
    "evaluations",
    metadata,
    *key_columns(),
    Column("model", LongText, nullable=False, index=True),
    Column("status", short_text(16), nullable=False, index=True),
    Column("validation_file", short_text(64)),
    Column("filename", LongText),
    Column("against", JSON, nullable=False),
    Column("functions", Int64, nullable=False),
    Column("definitions", JSON, nullable=False),
    Column("limit", Int64),
    Column("max_tokens", Int64),
    Column("created_at", Int64, nullable=False),
    Column("finished_at", Int64),
    Column("done", Int64, nullable=False),
    Column("total", Int64, nullable=False),
    Column("error", JSON),
    Column("headline", JSON),
    Column("report", JSON),
    *lease_columns(),
    Column("attempts", Int64, nullable=False, server_default="0"),  # starts, except those that a stopping worker undid
    project_column(),
)
_WITHOUT_REPORT = [column for column in evaluations.c if column.name != "report"]
_OPEN: tuple[EvaluationStatus, ...] = ("queued", "running")

AnyEvaluation = TypeVar("AnyEvaluation", bound=Evaluation)


class ClaimedEvaluation(Evaluation):
    """An evaluation that a worker has leased; `attempts` counts this run of it too."""

    project: str
    attempts: int


class Evaluations(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database
        self.queue = LeasedTable(database, evaluations)

    # -- for the API -----------------------------------------------------------------------------------------

    def create(self, *, status: EvaluationStatus = "queued", **values: Any) -> Evaluation:
        """Create a queued evaluation; with another `status`, a finished one."""
        evaluation_id = resource_id("evaluation-")
        row = {"id": evaluation_id, "status": status, "created_at": now(), "project": self._new_row_project}
        row |= {"done": 0, "total": 0, **values} | ({} if status == "queued" else {"finished_at": now()})
        with self._database.write() as connection:
            if connection.scalar(select(evaluations.c.seq).where(evaluations.c.id == evaluation_id)) is None:
                connection.execute(insert(evaluations).values(**row))
            return self._find(connection, evaluation_id)

    def retrieve(self, evaluation_id: str) -> Evaluation:
        """Includes the report. Raises NotFoundError."""
        with self._database.read() as connection:
            return self._find(connection, evaluation_id)

    def list(self, *, model: str | None, limit: int, after: str | None) -> Page[Evaluation]:
        """Newest first, without reports."""
        query = self._without_reports()
        query = query if model is None else query.where(evaluations.c.model == model)
        with self._database.read() as connection:
            return fetch_page(connection, query, evaluations, _evaluation, limit=limit, after=after)

    def cancel(self, evaluation_id: str) -> Evaluation:
        """Cancel an evaluation. Raises NotFoundError; BadRequestError if it has finished."""
        status = self.retrieve(evaluation_id).status
        if status != "cancelled" and not self.queue.transition(
            evaluation_id, _OPEN, "cancelled", release=False, finished_at=now()
        ):
            status = self.retrieve(evaluation_id).status
            raise BadRequestError(f"Cannot cancel an evaluation with status '{status}'.")
        return self.retrieve(evaluation_id)

    def delete(self, evaluation_id: str) -> None:
        """Delete an evaluation; the worker of a running one stops at its next heartbeat. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, evaluation_id)
            connection.execute(delete(evaluations).where(evaluations.c.id == evaluation_id))

    # -- for workers -----------------------------------------------------------------------------------------

    def claim(self, owner: str, excluding: Collection[str] = ()) -> ClaimedEvaluation | None:
        """Lease the oldest evaluation that waits or whose worker died, and set it to `running`."""
        attempts = evaluations.c.attempts + 1
        row = self.queue.claim(owner, _OPEN, excluding=excluding, status="running", done=0, attempts=attempts)
        return _evaluation(row, ClaimedEvaluation) if row else None

    def finish(self, row_id: str, owner: str, status: EvaluationStatus, **values: Any) -> None:
        """Finish an evaluation; nothing changes if it was cancelled or deleted, or if another worker has claimed it
        since."""
        if status == "succeeded":
            values["done"] = evaluations.c.total
        self.queue.transition(row_id, ("running",), status, owner=owner, finished_at=now(), **values)

    def requeue(self, row_id: str, owner: str) -> None:
        """Undo `claim`, for a worker that stops."""
        attempts = evaluations.c.attempts - 1
        self.queue.transition(row_id, ("running",), "queued", owner=owner, done=0, attempts=attempts)

    def _without_reports(self) -> Select[Any]:
        query = select(*_WITHOUT_REPORT)
        return query if self._project is None else query.where(evaluations.c.project == self._project)

    def _find(self, connection: Connection, evaluation_id: str) -> Evaluation:
        row = connection.execute(self._visible(evaluations).where(evaluations.c.id == evaluation_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No such evaluation: {evaluation_id}", param="evaluation_id")
        return _evaluation(row)


def _evaluation(row: RowMapping, kind: type[AnyEvaluation] = Evaluation) -> AnyEvaluation:  # type: ignore[assignment]
    return kind(**{key: row[key] for key in kind.model_fields if key in row})
