"""Evals: a row each, with the criteria by which their runs are graded. Deleting an eval deletes its runs."""

from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, Column, Connection, RowMapping, Table, delete, insert, select, update

from luthier.store.column_types import Int64, LongText
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.eval_runs import delete_runs_of
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import resource_id
from luthier.types.common import now
from luthier.types.errors import NotFoundError
from luthier.types.evals import Eval

evals = Table(
    "evals",
    metadata,
    *key_columns(),
    Column("name", LongText, nullable=False),
    Column("data_source_config", JSON, nullable=False),
    Column("testing_criteria", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("updated_at", Int64, nullable=False),
    project_column(),
)


class StoredEval(Eval):
    project: str

    @property
    def item_schema(self) -> dict[str, Any]:
        """The JSON schema of each item."""
        schema: dict[str, Any] = self.data_source_config.document["properties"]["item"]
        return schema


class Evals(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        *,
        name: str | None,
        data_source_config: dict[str, Any],
        testing_criteria: list[dict[str, Any]],
        metadata: dict[str, str] | None,
    ) -> StoredEval:
        """Create an eval, whose name defaults to its id, or return the one that an earlier attempt of the same
        request created."""
        eval_id, created = resource_id("eval_", 32), now()
        criteria = [{**criterion, "id": f"{criterion['name']}-{uuid4()}"} for criterion in testing_criteria]
        row = {
            "id": eval_id,
            "name": name or eval_id,
            "data_source_config": data_source_config,
            "testing_criteria": criteria,
            "metadata": metadata or {},
            "created_at": created,
            "updated_at": created,
            "project": self._new_row_project,
        }
        with self._database.write() as connection:
            if connection.scalar(select(evals.c.seq).where(evals.c.id == eval_id)) is None:
                connection.execute(insert(evals).values(**row))
            return self._find(connection, eval_id)

    def retrieve(self, eval_id: str) -> StoredEval:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return self._find(connection, eval_id)

    def list(self, *, limit: int, after: str | None, ascending: bool, by_update: bool) -> Page[StoredEval]:
        """List evals in the order of creation, or of the last update."""
        order_by = evals.c.updated_at if by_update else None
        with self._database.read() as connection:
            return fetch_page(
                connection,
                self._visible(evals),
                evals,
                _eval,
                limit=limit,
                after=after,
                ascending=ascending,
                order_by=order_by,
            )

    def update(self, eval_id: str, **values: Any) -> StoredEval:
        """Set `name` or `metadata`. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, eval_id)
            connection.execute(update(evals).where(evals.c.id == eval_id).values(**values, updated_at=now()))
            return self._find(connection, eval_id)

    def delete(self, eval_id: str) -> None:
        """Delete an eval with its runs; the worker of a run in progress stops. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, eval_id)
            delete_runs_of(connection, eval_id)
            connection.execute(delete(evals).where(evals.c.id == eval_id))

    def _find(self, connection: Connection, eval_id: str) -> StoredEval:
        row = connection.execute(self._visible(evals).where(evals.c.id == eval_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No eval found with id '{eval_id}'.", param="eval_id")
        return _eval(row)


def _eval(row: RowMapping) -> StoredEval:
    return StoredEval(**{name: row[name] for name in StoredEval.model_fields if name in row})
