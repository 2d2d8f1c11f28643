"""Runs of evals: a row each, with a row for each of their items.

The table is a queue (`luthier.store.work_queue`). All items of a run are stored before the first one is sampled, and
each answer and grade as soon as it exists, so a worker that takes over a run continues where the last one stopped. The
counts and the final results of a run are computed from its items.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    case,
    delete,
    exists,
    insert,
    select,
    update,
)

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, lease_columns, metadata, project_column
from luthier.store.eval_items import (
    PENDING,
    StoredItem,
    add_items,
    eval_items,
    graded,
    item_counts,
    output_item,
    stored_item,
    summed_results,
)
from luthier.store.outbox import drop_messages
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import resource_id
from luthier.store.webhooks import announce
from luthier.store.work_queue import LeasedTable
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.evals import EvalRun, OutputItem, OutputItemStatus, ResultCounts, RunStatus
from luthier.types.webhooks import EventType

_OPEN: tuple[RunStatus, ...] = ("queued", "in_progress")
_EVENTS: dict[RunStatus, EventType] = {
    "completed": "eval.run.succeeded",
    "failed": "eval.run.failed",
    "canceled": "eval.run.canceled",
}

eval_runs = Table(
    "eval_runs",
    metadata,
    *key_columns(),
    Column("eval_id", short_text(64), nullable=False, index=True),
    Column("name", LongText, nullable=False),
    Column("model", LongText, nullable=False),
    Column("status", short_text(16), nullable=False, index=True),
    Column("data_source", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("error", JSON),
    Column("created_at", Int64, nullable=False),
    Column("items_at", Int64),  # when its items were stored
    Column("finished_at", Int64),
    Column("per_model_usage", JSON, nullable=False),
    Column("per_testing_criteria_results", JSON, nullable=False),
    *lease_columns(),
    Column("attempts", Int64, nullable=False),  # starts since the last item was graded
    project_column(),
)


class ClaimedRun(EvalRun):
    """A run that a worker has leased; `attempts` counts this start too."""

    project: str
    attempts: int
    items_at: int | None


class EvalRuns(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database
        self.queue = LeasedTable(database, eval_runs)

    # -- for the API -----------------------------------------------------------------------------------------

    def create(self, eval_id: str, **values: Any) -> EvalRun:
        """Create a queued run, whose name defaults to its id, or return the one that an earlier attempt of the same
        request created."""
        run_id = resource_id("evalrun_", 32)
        row: dict[str, Any] = {"id": run_id, "eval_id": eval_id, "status": "queued", "created_at": now(), "attempts": 0}
        row |= {"per_model_usage": [], "per_testing_criteria_results": [], "project": self._new_row_project, **values}
        row["name"] = row["name"] or run_id
        with self._database.write() as connection:
            if connection.scalar(select(eval_runs.c.seq).where(eval_runs.c.id == run_id)) is None:
                connection.execute(insert(eval_runs).values(**row))
            return self._find(connection, eval_id, run_id)

    def retrieve(self, eval_id: str, run_id: str) -> EvalRun:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return self._find(connection, eval_id, run_id)

    def list(
        self, eval_id: str, *, status: RunStatus | None, limit: int, after: str | None, ascending: bool
    ) -> Page[EvalRun]:
        query = self._visible(eval_runs).where(eval_runs.c.eval_id == eval_id)
        query = query if status is None else query.where(eval_runs.c.status == status)
        with self._database.read() as connection:
            page = fetch_page(connection, query, eval_runs, _run, limit=limit, after=after, ascending=ascending)
            counts = item_counts(connection, [run.id for run in page.data])
            return Page([_with_counts(run, counts) for run in page.data], page.has_more)

    def cancel(self, eval_id: str, run_id: str) -> EvalRun:
        """Cancel a run; graded items are kept. Raises NotFoundError; BadRequestError if the run has ended."""
        status = self.retrieve(eval_id, run_id).status
        if status != "canceled" and not self._end(run_id, _OPEN, "canceled"):
            status = self.retrieve(eval_id, run_id).status
            raise BadRequestError(f"Cannot cancel a run with status '{status}'.")
        return self.retrieve(eval_id, run_id)

    def delete(self, eval_id: str, run_id: str) -> None:
        """Delete a run; if it is in progress, its worker stops. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, eval_id, run_id)
            _delete_runs(connection, [run_id])

    def item(self, eval_id: str, run_id: str, item_id: str) -> OutputItem:
        """Retrieve a graded item. Raises NotFoundError."""
        with self._database.read() as connection:
            self._find(connection, eval_id, run_id)
            query = graded(run_id).where(eval_items.c.id == item_id)
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"No output item found with id '{item_id}'.", param="output_item_id")
        return output_item(row)

    def items(
        self,
        eval_id: str,
        run_id: str,
        *,
        status: OutputItemStatus | None,
        limit: int,
        after: str | None,
        ascending: bool,
    ) -> Page[OutputItem]:
        """List the graded items, in the order of the data source. Raises NotFoundError."""
        query = graded(run_id) if status is None else graded(run_id).where(eval_items.c.status == status)
        with self._database.read() as connection:
            self._find(connection, eval_id, run_id)
            return fetch_page(connection, query, eval_items, output_item, limit=limit, after=after, ascending=ascending)

    # -- for workers -----------------------------------------------------------------------------------------

    def claim(self, owner: str, excluding: Collection[str] = ()) -> ClaimedRun | None:
        """Lease the oldest run that waits or whose worker died, and set it to `in_progress`."""
        attempts = eval_runs.c.attempts + 1
        row = self.queue.claim(owner, _OPEN, excluding=excluding, status="in_progress", attempts=attempts)
        return ClaimedRun(**_fields(row, ClaimedRun)) if row else None

    def add_items(self, run: ClaimedRun, owner: str, rows: Iterable[dict[str, Any]]) -> None:
        """Store all items of a run at once; nothing if `owner` no longer holds the lease.

        `rows`: each with `datasource_item`, `answer` and `sample`.
        """
        columns = {"run_id": run.id, "eval_id": run.eval_id, "project": run.project}
        with self._database.write() as connection:
            unread = _is_owned(run.id, owner) & eval_runs.c.items_at.is_(None)
            if connection.execute(update(eval_runs).where(unread).values(items_at=now())).rowcount:
                add_items(connection, columns, rows)

    def pending_items(self, run_id: str) -> Sequence[str]:
        """Ids of the items that are not graded yet, in the order of the data source."""
        pending = (eval_items.c.run_id == run_id) & (eval_items.c.status == PENDING)
        with self._database.read() as connection:
            return connection.scalars(select(eval_items.c.id).where(pending).order_by(eval_items.c.seq)).all()

    def stored_item(self, item_id: str) -> StoredItem | None:
        """None for an item of a run that was deleted."""
        with self._database.read() as connection:
            row = connection.execute(select(eval_items).where(eval_items.c.id == item_id)).mappings().first()
        return stored_item(row) if row else None

    def save_item(self, run_id: str, owner: str, item_id: str, **values: Any) -> bool:
        """Set columns of an item; False, and nothing changes, if `owner` no longer holds the lease of the run.

        A `status` ends the item and resets the count of starts.
        """
        of_owner = exists().where(_is_owned(run_id, owner)).correlate(eval_items)
        with self._database.write() as connection:
            saved = update(eval_items).where(eval_items.c.id == item_id, of_owner).values(**values)
            if not connection.execute(saved).rowcount:
                return False
            if "status" in values:
                started = (eval_runs.c.id == run_id) & (eval_runs.c.attempts > 0)
                connection.execute(update(eval_runs).where(started).values(attempts=0))
        return True

    def finish(self, row_id: str, owner: str, status: RunStatus, **values: Any) -> None:
        """Finish a run; nothing changes if it was cancelled or deleted, or if another worker has claimed it since."""
        self._end(row_id, ("in_progress",), status, owner=owner, release=True, **values)

    def requeue(self, row_id: str, owner: str) -> None:
        """Undo `claim`, for a worker that stops."""
        attempts = case((eval_runs.c.attempts > 0, eval_runs.c.attempts - 1), else_=0)
        self.queue.transition(row_id, ("in_progress",), "queued", owner=owner, attempts=attempts)

    def _end(
        self, run_id: str, allowed: Sequence[RunStatus], to: RunStatus, *, release: bool = False, **values: Any
    ) -> bool:
        """End a run with the results of its items and an event for webhook endpoints, in one transaction."""

        def report(connection: Connection, _: str) -> None:
            this = eval_runs.c.id == run_id
            connection.execute(update(eval_runs).where(this).values(**summed_results(connection, run_id)))
            project = connection.scalar(select(eval_runs.c.project).where(this))
            announce(connection, str(project), _EVENTS[to], run_id)

        return self.queue.transition(run_id, allowed, to, release=release, on_row=report, finished_at=now(), **values)

    def _find(self, connection: Connection, eval_id: str, run_id: str) -> EvalRun:
        this = (eval_runs.c.id == run_id) & (eval_runs.c.eval_id == eval_id)
        row = connection.execute(self._visible(eval_runs).where(this)).mappings().first()
        if row is None:
            raise NotFoundError(f"No run found with id '{run_id}' in eval '{eval_id}'.", param="run_id")
        return _with_counts(_run(row), item_counts(connection, [run_id]))


def delete_runs_of(connection: Connection, eval_id: str) -> None:
    """Delete the runs of an eval, inside the transaction that deletes the eval."""
    _delete_runs(connection, connection.scalars(select(eval_runs.c.id).where(eval_runs.c.eval_id == eval_id)).all())


def _delete_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    drop_messages(connection, run_ids)
    connection.execute(delete(eval_items).where(eval_items.c.run_id.in_(run_ids)))
    connection.execute(delete(eval_runs).where(eval_runs.c.id.in_(run_ids)))


def _is_owned(run_id: str, owner: str) -> ColumnElement[bool]:
    columns = eval_runs.c
    return (columns.id == run_id) & (columns.owner == owner) & (columns.status == "in_progress")


def _with_counts(run: EvalRun, counts: dict[str, ResultCounts]) -> EvalRun:
    return run.model_copy(update={"result_counts": counts.get(run.id, ResultCounts())})


def _fields(row: RowMapping, kind: type[EvalRun]) -> dict[str, Any]:
    return {name: row[name] for name in kind.model_fields if name in row}


def _run(row: RowMapping) -> EvalRun:
    return EvalRun(**_fields(row, EvalRun))
