"""Stored chat completions: a row each, with an expiry and a limit on their number."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Column, Connection, RowMapping, Table, delete, func, insert, select, update

from luthier.store.column_types import Int64, LongText
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.json_filters import with_pairs
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import is_seeded
from luthier.types.common import now
from luthier.types.errors import ConflictError, NotFoundError
from luthier.types.names import snapshot
from luthier.types.stored import StoredCompletion, StoredMessage

_DAY_S = 24 * 3600
_CURSOR_S = 3600  # that an expired row remains valid as a cursor

stored_completions = Table(
    "completions",
    metadata,
    *key_columns(),
    Column("model", LongText, nullable=False, index=True),
    Column("metadata", JSON, nullable=False),
    Column("completion", JSON, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64, nullable=False),
    project_column(),
)


class StoredCompletions(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, completion: StoredCompletion, messages: list[StoredMessage], *, days: int, max_rows: int) -> None:
        """Store a completion for `days`; beyond `max_rows`, over all projects, the oldest are deleted.

        A completion stored by an earlier attempt of the same operation is replaced, since no client has received it.
        Raises ConflictError if another completion has that id.
        """
        row: dict[str, Any] = {
            "id": completion.id,
            "model": completion.model,
            "metadata": completion.metadata,
            "completion": completion.model_dump(exclude={"metadata"}),
            "messages": [message.model_dump() for message in messages],
            "created_at": completion.created,
            "expires_at": now() + days * _DAY_S,
            "project": self._new_row_project,
        }
        with self._database.write() as connection:
            this = stored_completions.c.id == completion.id
            if is_seeded():
                connection.execute(delete(stored_completions).where(this))
            elif connection.scalar(select(stored_completions.c.seq).where(this)):
                raise ConflictError(f"A chat completion with id '{completion.id}' already exists.")
            connection.execute(insert(stored_completions).values(**row))
            _prune(connection, max_rows)

    def exists(self, completion_id: str) -> bool:
        with self._database.read() as connection:
            this = self._unexpired().where(stored_completions.c.id == completion_id)
            return connection.execute(this).first() is not None

    def count(self) -> int:
        """The number of completions over all projects, as counted by the limit."""
        unexpired = stored_completions.c.expires_at > now()
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(stored_completions).where(unexpired)) or 0

    def retrieve(self, completion_id: str) -> StoredCompletion:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return _completion(self._row(connection, completion_id))

    def list(
        self, *, model: str | None, pairs: Mapping[str, str], limit: int, after: str | None, ascending: bool
    ) -> Page[StoredCompletion]:
        """`model`: an alias, or the snapshot shown in responses."""
        query = self._unexpired().where(with_pairs(stored_completions.c.metadata, pairs))
        if model is not None:
            query = query.where(stored_completions.c.model.in_({model, snapshot(model)}))
        with self._database.read() as connection:
            table = stored_completions
            return fetch_page(connection, query, table, _completion, limit=limit, after=after, ascending=ascending)

    def messages(self, completion_id: str) -> Sequence[StoredMessage]:
        """In the order of the request. Raises NotFoundError."""
        with self._database.read() as connection:
            row = self._row(connection, completion_id)
            return [StoredMessage(**message) for message in row["messages"]]

    def update(self, completion_id: str, metadata: Mapping[str, str]) -> StoredCompletion:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            row = self._row(connection, completion_id)
            this = stored_completions.c.seq == row["seq"]
            connection.execute(update(stored_completions).where(this).values(metadata=dict(metadata)))
            return _completion(self._row(connection, completion_id))

    def delete(self, completion_id: str) -> None:
        """Delete a completion. Raises NotFoundError. An empty row stays until it is pruned, so that it remains valid
        as a cursor."""
        with self._database.write() as connection:
            this = stored_completions.c.seq == self._row(connection, completion_id)["seq"]
            emptied: dict[str, Any] = {"metadata": {}, "completion": {}, "messages": []}
            connection.execute(update(stored_completions).where(this).values(expires_at=now(), **emptied))

    def delete_expired(self) -> None:
        with self._database.write() as connection:
            expired = stored_completions.c.expires_at <= now() - _CURSOR_S
            connection.execute(delete(stored_completions).where(expired))

    def _unexpired(self) -> Any:
        return self._visible(stored_completions).where(stored_completions.c.expires_at > now())

    def _row(self, connection: Connection, completion_id: str) -> RowMapping:
        row: RowMapping | None = (
            connection.execute(self._unexpired().where(stored_completions.c.id == completion_id)).mappings().first()
        )
        if row is None:
            raise NotFoundError(f"Chat completion with id '{completion_id}' not found.", param="completion_id")
        return row


def _prune(connection: Connection, max_rows: int) -> None:
    columns = stored_completions.c
    newest_first = select(columns.seq).where(columns.expires_at > now()).order_by(columns.seq.desc())
    last_outdated = connection.scalar(newest_first.offset(max_rows).limit(1)) or 0
    outdated = (columns.expires_at <= now()) | (columns.seq <= last_outdated)
    connection.execute(delete(stored_completions).where(outdated))


def _completion(row: RowMapping) -> StoredCompletion:
    return StoredCompletion(**row["completion"], metadata=row["metadata"])
