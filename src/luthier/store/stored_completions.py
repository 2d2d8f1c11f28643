"""Stored chat completions: a row each, for so many days and so many at most. Knows nothing about how one is made."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from luthier.store.database import Database, metadata, project_column
from luthier.store.json_filters import with_pairs
from luthier.store.pagination import Page, page
from luthier.store.project_scope import Scoped
from luthier.types.common import now
from luthier.types.errors import NotFoundError
from luthier.types.names import snapshot
from luthier.types.stored import StoredCompletion, StoredMessage

_DAY_S = 24 * 3600

completions = Table(
    "completions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("model", Text, nullable=False, index=True),
    Column("metadata", JSON, nullable=False),
    Column("completion", JSON, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    project_column(),
)


class Completions(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, completion: StoredCompletion, messages: list[StoredMessage], *, days: int, most: int) -> None:
        """Keeps it for `days`; of all that are kept, everybody's, the newest `most` stay."""
        row: dict[str, Any] = {
            "id": completion.id,
            "model": completion.model,
            "metadata": completion.metadata,
            "completion": completion.model_dump(exclude={"metadata"}),
            "messages": [message.model_dump() for message in messages],
            "created_at": completion.created,
            "expires_at": now() + days * _DAY_S,
            "project": self._home,
        }
        with self._database.write() as connection:
            connection.execute(insert(completions).values(**row))
            _prune(connection, most)

    def retrieve(self, completion_id: str) -> StoredCompletion:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return _completion(self._row(connection, completion_id))

    def list(
        self, *, model: str | None, pairs: Mapping[str, str], limit: int, after: str | None, ascending: bool
    ) -> Page[StoredCompletion]:
        """A model may be named as requests name it or as answers do."""
        query = self._kept().where(with_pairs(completions.c.metadata, pairs))
        if model is not None:
            query = query.where(completions.c.model.in_({model, snapshot(model)}))
        with self._database.read() as connection:
            return page(connection, query, completions, _completion, limit=limit, after=after, ascending=ascending)

    def messages(self, completion_id: str) -> Sequence[StoredMessage]:
        """In the order of the request. Raises NotFoundError."""
        with self._database.read() as connection:
            row = self._row(connection, completion_id)
            return [StoredMessage(**message) for message in row["messages"]]

    def update(self, completion_id: str, metadata: Mapping[str, str]) -> StoredCompletion:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            row = self._row(connection, completion_id)
            this = completions.c.seq == row["seq"]
            connection.execute(update(completions).where(this).values(metadata=dict(metadata)))
            return _completion(self._row(connection, completion_id))

    def delete(self, completion_id: str) -> None:
        """Raises NotFoundError. An empty row stays for a while, so that a list goes on after it."""
        with self._database.write() as connection:
            this = completions.c.seq == self._row(connection, completion_id)["seq"]
            nothing: dict[str, Any] = {"metadata": {}, "completion": {}, "messages": []}
            connection.execute(update(completions).where(this).values(expires_at=0, **nothing))

    def delete_expired(self) -> None:
        with self._database.write() as connection:
            connection.execute(delete(completions).where(completions.c.expires_at <= now()))

    def _kept(self) -> Any:
        return self._seen(completions).where(completions.c.expires_at > now())

    def _row(self, connection: Connection, completion_id: str) -> RowMapping:
        row: RowMapping | None = (
            connection.execute(self._kept().where(completions.c.id == completion_id)).mappings().first()
        )
        if row is None:
            raise NotFoundError(f"Chat completion with id '{completion_id}' not found.", param="completion_id")
        return row


def _prune(connection: Connection, most: int) -> None:
    newest = select(completions.c.seq).where(completions.c.expires_at > now()).order_by(completions.c.seq.desc())
    outdated = connection.scalar(newest.offset(most).limit(1)) or 0
    gone = (completions.c.expires_at <= now()) | (completions.c.seq <= outdated)
    connection.execute(delete(completions).where(gone))


def _completion(row: RowMapping) -> StoredCompletion:
    return StoredCompletion(**row["completion"], metadata=row["metadata"])
