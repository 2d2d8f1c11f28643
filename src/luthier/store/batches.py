"""Batches: a row each, and while it is worked on a folder with its input and the journal of its results.

The table is the queue: a runner claims a row and renews its lease; one that says nothing for a while has lost it to
another. A change of status is one guarded `UPDATE`. Knows nothing about how a request is answered.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy import JSON, Column, Connection, Float, Integer, RowMapping, String, Table, Text, insert, select, update

from luthier.store.database import Database, metadata, project_column
from luthier.store.files import Files
from luthier.store.pagination import Page, page
from luthier.store.project_scope import Scoped
from luthier.types.batches import FINAL, OPEN, WINDOW_S, Batch, BatchStatus
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.files import FileObject

LEASE_S = 30.0
_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")

batches = Table(
    "batches",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("model", Text),
    Column("errors", JSON),
    Column("input_file_id", String(64), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("output_file_id", String(64)),
    Column("error_file_id", String(64)),
    Column("output_expires_after_s", Integer),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
    *(Column(f"{name}_at", Integer) for name in _TIMES),
    Column("request_counts", JSON, nullable=False),
    Column("usage", JSON),
    Column("metadata", JSON),
    Column("owner", String(64)),
    Column("lease_until", Float),
    project_column(),
)


class Batches(Scoped):
    def __init__(self, database: Database, folder: Path, files: Files) -> None:
        self._database, self._folder, self._files = database, folder, files

    # -- what callers do -------------------------------------------------------------------------------------

    def create(self, **values: Any) -> Batch:
        created, batch_id = now(), new_id("batch_", 32)
        row = {"id": batch_id, "status": "validating", "created_at": created, "expires_at": created + WINDOW_S}
        counts = {"total": 0, "completed": 0, "failed": 0}
        with self._database.write() as connection:
            connection.execute(insert(batches).values(**row, **values, request_counts=counts, project=self._home))
            return _batch(self._row(connection, batch_id))

    def retrieve(self, batch_id: str) -> Batch:
        """Raises NotFoundError in OpenAI's words."""
        with self._database.read() as connection:
            return _batch(self._row(connection, batch_id))

    def list(self, *, limit: int, after: str | None) -> Page[Batch]:
        """Newest first."""
        with self._database.read() as connection:
            return page(connection, self._seen(batches), batches, _batch, limit=limit, after=after)

    def cancel(self, batch_id: str) -> Batch:
        """What is answered by then is kept. Raises NotFoundError, and BadRequestError for a batch that is over."""
        with self._database.write() as connection:
            row = self._row(connection, batch_id)
            if row["status"] in ("validating", "in_progress"):
                _to(connection, batch_id, (row["status"],), "cancelling")
            elif row["status"] not in ("cancelling", "cancelled"):
                raise BadRequestError(f"Cannot cancel a batch with status '{row['status']}'.")
            return _batch(self._row(connection, batch_id))

    # -- what runners do -------------------------------------------------------------------------------------

    def claim(self, owner: str, most: int) -> Sequence[RowMapping]:
        """Up to `most` open batches that nobody holds, oldest first; they are `owner`'s until the lease runs out."""
        free = batches.c.lease_until.is_(None) | (batches.c.lease_until < time.time())
        wanted = select(batches).where(batches.c.status.in_(OPEN), free).order_by(batches.c.seq).limit(most)
        with self._database.read() as connection:
            if not connection.execute(wanted).first():  # asking must not cost a write
                return []
        with self._database.write() as connection:
            rows = connection.execute(wanted).mappings().all()
            mine = batches.c.id.in_([row["id"] for row in rows])
            connection.execute(update(batches).where(mine).values(owner=owner, lease_until=time.time() + LEASE_S))
        return rows

    def renew(self, batch_id: str, owner: str, **progress: Any) -> BatchStatus | None:
        """Keep the batch for another while and note its progress; its status, or None when it is somebody else's."""
        with self._database.write() as connection:
            mine = (batches.c.id == batch_id) & (batches.c.owner == owner)
            lease = {"lease_until": time.time() + LEASE_S, **progress}
            if not connection.execute(update(batches).where(mine).values(**lease)).rowcount:
                return None
            status: BatchStatus = self._row(connection, batch_id)["status"]
            return status

    def release(self, batch_id: str, owner: str) -> None:
        with self._database.write() as connection:
            mine = (batches.c.id == batch_id) & (batches.c.owner == owner)
            connection.execute(update(batches).where(mine).values(owner=None, lease_until=None))

    def forget_runners(self) -> None:
        """For the one server of a data folder, at its start: whoever held a batch is gone."""
        with self._database.write() as connection:
            connection.execute(update(batches).values(owner=None, lease_until=None))

    def transition(self, batch_id: str, since: Sequence[BatchStatus], to: BatchStatus, **values: Any) -> bool:
        """Whether it was in one of `since` and is now in `to`, with the time of it noted."""
        with self._database.write() as connection:
            done = _to(connection, batch_id, since, to, **values)
        if done and to in FINAL:
            shutil.rmtree(self._folder / batch_id, ignore_errors=True)
        return done

    def keep_file(
        self, batch: RowMapping, column: str, filename: str, fill: Callable[[IO[bytes]], None]
    ) -> FileObject | None:
        """A file of results, named in `column`, in one step; None when the batch has it already."""

        def name_it(connection: Connection, file: FileObject) -> None:
            free = (batches.c.id == batch["id"]) & batches.c[column].is_(None)
            if not connection.execute(update(batches).where(free).values({column: file.id})).rowcount:
                raise _TakenError

        expires = batch["output_expires_after_s"]
        try:
            return self._files.within(batch["project"]).create(
                filename, "batch_output", fill, expires_after_s=expires, also=name_it
            )
        except _TakenError:
            return None

    def folder(self, batch: RowMapping) -> Path:
        """Where its input and its journal lie until it is over."""
        folder = self._folder / str(batch["id"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _row(self, connection: Connection, batch_id: str) -> RowMapping:
        row = connection.execute(self._seen(batches).where(batches.c.id == batch_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No batch found with id '{batch_id}'.")
        return row


class _TakenError(Exception):
    """The file was kept before."""


def _to(connection: Connection, batch_id: str, since: Sequence[BatchStatus], to: BatchStatus, **values: Any) -> bool:
    guarded = update(batches).where(batches.c.id == batch_id, batches.c.status.in_(since))
    return bool(connection.execute(guarded.values({"status": to, f"{to}_at": now(), **values})).rowcount)


def _batch(row: RowMapping) -> Batch:
    return Batch(**{key: row[key] for key in Batch.model_fields if key in row})
