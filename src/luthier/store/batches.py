"""Batches: a row each, and during processing a folder with the input and the results so far.

The table is a queue (`luthier.store.work_queue`). Every open status can be claimed: a worker continues a batch from
the results of the last one.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import JSON, Column, Connection, RowMapping, Table, insert, select, update

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, lease_columns, metadata, project_column
from luthier.store.files import Files
from luthier.store.pagination import Page, fetch_page
from luthier.store.request_ids import resource_id
from luthier.store.webhooks import announce
from luthier.store.work_queue import LeasedTable, QueuePart
from luthier.types.batches import FINAL, OPEN, WINDOW_S, Batch, BatchStatus
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.files import FileObject

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")

batches = Table(
    "batches",
    metadata,
    *key_columns(),
    Column("endpoint", short_text(64), nullable=False),
    Column("model", LongText),
    Column("errors", JSON),
    Column("input_file_id", short_text(64), nullable=False),
    Column("completion_window", short_text(16), nullable=False),
    Column("status", short_text(16), nullable=False, index=True),
    Column("output_file_id", short_text(64)),
    Column("error_file_id", short_text(64)),
    Column("output_expires_after_s", Int64),
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64, nullable=False),
    *(Column(f"{name}_at", Int64) for name in _TIMES),
    Column("request_counts", JSON, nullable=False),
    Column("usage", JSON),
    Column("metadata", JSON),
    *lease_columns(),
    project_column(),
)


AnyBatch = TypeVar("AnyBatch", bound=Batch)


class ClaimedBatch(Batch):
    """A batch that a worker has leased."""

    project: str
    expires_at: int
    fencing_token: int
    output_expires_after_s: int | None


class Batches(QueuePart):
    def __init__(self, database: Database, folder: Path, files: Files) -> None:
        self._database, self._folder, self._files = database, folder, files
        self.queue = LeasedTable(database, batches)

    # -- for the API -----------------------------------------------------------------------------------------

    def create(self, **values: Any) -> Batch:
        """Create a batch, or return the one that an earlier attempt of the same request created."""
        created, batch_id = now(), resource_id("batch_", 32)
        row = {"id": batch_id, "status": "validating", "created_at": created, "expires_at": created + WINDOW_S}
        counts = {"total": 0, "completed": 0, "failed": 0}
        with self._database.write() as connection:
            if connection.scalar(select(batches.c.seq).where(batches.c.id == batch_id)) is None:
                complete = {**row, **values, "request_counts": counts, "project": self._new_row_project}
                connection.execute(insert(batches).values(**complete))
            return self._find(connection, batch_id)

    def restore(self, batch: Batch) -> bool:
        """Import a batch of another service under its own id; one that had not ended there is marked as cancelled.
        False if the id already exists.
        """
        row = batch.model_dump(exclude={"object"})
        row |= {"status": batch.status if batch.status in FINAL else "cancelled", "project": self._new_row_project}
        row["expires_at"] = batch.expires_at or batch.created_at + WINDOW_S
        with self._database.write() as connection:
            if connection.scalar(select(batches.c.seq).where(batches.c.id == batch.id)):
                return False
            connection.execute(insert(batches).values(**row))
        return True

    def retrieve(self, batch_id: str) -> Batch:
        """Raises NotFoundError in OpenAI's words."""
        with self._database.read() as connection:
            return self._find(connection, batch_id)

    def list(self, *, limit: int, after: str | None) -> Page[Batch]:
        """Newest first."""
        with self._database.read() as connection:
            return fetch_page(connection, self._visible(batches), batches, _batch, limit=limit, after=after)

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch; its results so far are kept. Raises NotFoundError; BadRequestError if the batch has ended."""
        status = self.retrieve(batch_id).status
        if status not in ("cancelling", "cancelled") and not self.transition(
            batch_id, ("validating", "in_progress"), "cancelling"
        ):
            status = self.retrieve(batch_id).status
            raise BadRequestError(f"Cannot cancel a batch with status '{status}'.")
        return self.retrieve(batch_id)

    # -- for workers -----------------------------------------------------------------------------------------

    def claim(self, owner: str, excluding: Collection[str] = ()) -> ClaimedBatch | None:
        """Lease the oldest open batch to `owner`; None if there is none to claim."""
        row = self.queue.claim(owner, OPEN, excluding=excluding)
        return _batch(row, ClaimedBatch) if row else None

    def transition(self, batch_id: str, allowed: Sequence[BatchStatus], to: BatchStatus, **values: Any) -> bool:
        """As `LeasedTable.transition`, with the time of the change; the lease is not released.

        The folder of a batch that ends is deleted, and webhook endpoints are told.
        """

        def report(connection: Connection, _: str) -> None:
            if to in FINAL:
                project = connection.scalar(select(batches.c.project).where(batches.c.id == batch_id))
                announce(connection, str(project), f"batch.{to}", batch_id)

        values[f"{to}_at"] = now()
        changed = self.queue.transition(batch_id, allowed, to, release=False, on_row=report, **values)
        if changed and to in FINAL:
            shutil.rmtree(self._folder / batch_id, ignore_errors=True)
        return changed

    def attach_results(
        self, batch: ClaimedBatch, column: str, filename: str, fill: Callable[[IO[bytes]], None]
    ) -> FileObject | None:
        """Create a result file and set `column` to its id in one transaction; None if the batch already has one."""

        def set_column(connection: Connection, file: FileObject) -> None:
            unset = self.queue.this(batch.id) & batches.c[column].is_(None)
            if not connection.execute(update(batches).where(unset).values({column: file.id})).rowcount:
                raise _AttachedError

        expires = batch.output_expires_after_s
        try:
            return self._files.within(batch.project).create(
                filename, "batch_output", fill, expires_after_s=expires, also=set_column
            )
        except _AttachedError:
            return None

    def delete_finished_folders(self) -> None:
        """Deletes the folders of batches that have ended, which a crash may have left."""
        if not self._folder.exists():
            return
        for folder in self._folder.iterdir():
            if self.queue.status(folder.name) in FINAL:
                shutil.rmtree(folder, ignore_errors=True)

    def folder(self, batch_id: str) -> Path:
        """The folder of its input and its results, until the batch has ended."""
        folder = self._folder / batch_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _find(self, connection: Connection, batch_id: str) -> Batch:
        row = connection.execute(self._visible(batches).where(batches.c.id == batch_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No batch found with id '{batch_id}'.")
        return _batch(row)


class _AttachedError(Exception):
    """The batch has a file in that column already."""


def _batch(row: RowMapping, kind: type[AnyBatch] = Batch) -> AnyBatch:  # type: ignore[assignment]
    return kind(**{key: row[key] for key in kind.model_fields if key in row})
