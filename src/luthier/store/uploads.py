"""Uploads: a row each, a row and a blob for each part, and on completion one file of all parts.

An upload is ended by one guarded `UPDATE`, so that only one of two concurrent calls succeeds. Limits on sizes and
purposes are the caller's.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy import JSON, Column, Connection, ForeignKey, RowMapping, Table, delete, func, insert, select, update

from luthier.store.blobs import Blobs, Source
from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.files import Files
from luthier.store.key_quotas import charge_bytes
from luthier.store.outages import may_be_committed
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import resource_id
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.files import FileObject
from luthier.types.ids import new_id
from luthier.types.uploads import Upload, UploadPart, UploadStatus

EXPIRES_AFTER_S = 3600
_RETENTION_S = 24 * 3600  # of the rows of ended uploads, after their expiry
_CHUNK_BYTES = 1024 * 1024

uploads = Table(
    "uploads",
    metadata,
    *key_columns(),
    Column("filename", LongText, nullable=False),
    Column("purpose", short_text(32), nullable=False),
    Column("bytes", Int64, nullable=False),
    Column("file_expires_after_s", Int64),
    Column("status", short_text(16), nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64, nullable=False),
    Column("part_ids", JSON),  # as completed, so that a repeated call gets the same response
    Column("file", JSON),
    project_column(),
)

parts = Table(
    "upload_parts",
    metadata,
    *key_columns(),
    Column("upload_id", ForeignKey("uploads.id"), nullable=False, index=True),
    Column("bytes", Int64, nullable=False),
    Column("created_at", Int64, nullable=False),
)


class Uploads(Scoped):
    def __init__(self, database: Database, blobs: Blobs, files: Files) -> None:
        """`blobs`: the blobs of parts, separate from those of files."""
        self._database, self._blobs, self._files = database, blobs, files

    @property
    def folder(self) -> Path:
        """The folder where a new part is received."""
        return self._blobs.folder

    def create(self, filename: str, purpose: str, size_bytes: int, *, file_expires_after_s: int | None) -> Upload:
        """Raises RateLimitError above the limit of the caller's key."""
        created = now()
        values: dict[str, Any] = {
            "id": resource_id("upload_"),
            "filename": filename,
            "purpose": purpose,
            "bytes": size_bytes,
            "file_expires_after_s": file_expires_after_s,
            "status": "pending",
            "created_at": created,
            "expires_at": created + EXPIRES_AFTER_S,
        }
        with self._database.write() as connection:
            if connection.scalar(select(uploads.c.id).where(uploads.c.id == values["id"])) is None:
                connection.execute(insert(uploads).values(**values, project=self._new_row_project))
                charge_bytes(connection, values["id"], size_bytes)
            return _upload(self._row(connection, values["id"]))

    def retrieve(self, upload_id: str) -> Upload:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return _upload(self._row(connection, upload_id))

    def add_part(self, upload_id: str, source: Source, *, max_bytes: int) -> UploadPart:
        """Add a part with the content of `source`; all parts together may have at most `max_bytes`.

        Raises NotFoundError; BadRequestError if the upload is not pending or would be too large. Nothing is left behind
        in that case.
        """
        self._require_pending(upload_id)
        part_id = new_id("part_")
        size = self._blobs.write(part_id, source).bytes
        values: dict[str, Any] = {"id": part_id, "upload_id": upload_id, "created_at": now()}
        try:
            with self._database.write() as connection:
                _check_pending(self._row(connection, upload_id))
                total = select(func.sum(parts.c.bytes)).where(parts.c.upload_id == upload_id)
                if (connection.scalar(total) or 0) + size > max_bytes:
                    raise BadRequestError(
                        f"The parts of this upload would hold more than {max_bytes:,} bytes.", param="data"
                    )
                connection.execute(insert(parts).values(**values, bytes=size))
        except BaseException as error:
            if not may_be_committed(error):
                self._blobs.delete(part_id)
            raise
        return UploadPart(**values)

    def complete(self, upload_id: str, part_ids: Sequence[str], md5: str | None) -> Upload:
        """Create the file from these parts, in this order, and complete the upload, in one transaction.

        Idempotent: a repeated call gets the same response. Raises NotFoundError and BadRequestError.
        """
        row = self._require_pending(upload_id, or_completed_from=part_ids)
        if row["status"] == "completed":
            return _upload(row)

        def completed(connection: Connection, file: FileObject) -> None:
            _end(connection, upload_id, "completed", part_ids=list(part_ids), file=file.model_dump())

        try:
            self._check_parts(row, part_ids)
            self._files.within(row["project"]).create(
                row["filename"],
                row["purpose"],
                lambda out: self._join(part_ids, md5, out),
                expires_after_s=row["file_expires_after_s"],
                also=completed,
            )
        except (FileNotFoundError, BadRequestError, _EndedError) as error:
            row = self._require_pending(
                upload_id, or_completed_from=part_ids
            )  # another call may have ended it meanwhile
            if row["status"] != "completed":
                if isinstance(error, BadRequestError):
                    raise
                message = "A part of this upload can no longer be read. Add it again under a new id."
                raise BadRequestError(message, param="part_ids") from error
            return _upload(row)
        self._delete_parts(upload_id)
        return self.retrieve(upload_id)

    def cancel(self, upload_id: str) -> Upload:
        """Deletes the parts; idempotent. Raises NotFoundError; BadRequestError for an upload that ended otherwise."""
        with self._database.write() as connection:
            row = self._row(connection, upload_id)
            if row["status"] != "cancelled":
                _check_pending(row)
                _end(connection, upload_id, "cancelled")
            row = self._row(connection, upload_id)
        self._delete_parts(upload_id)
        return _upload(row)

    def delete_expired(self) -> None:
        """Deletes the parts of ended and expired uploads, and the rows of uploads that ended long ago."""
        with self._database.write() as connection:
            expired = (uploads.c.status == "pending") & (uploads.c.expires_at <= now())
            connection.execute(update(uploads).where(expired).values(status="expired"))
            ended = select(parts.c.upload_id).join(uploads).where(uploads.c.status != "pending").distinct()
            ended_ids = connection.scalars(ended).all()
        for upload_id in ended_ids:
            self._delete_parts(upload_id)
        with self._database.write() as connection:
            old = (uploads.c.expires_at <= now() - _RETENTION_S) & uploads.c.id.not_in(select(parts.c.upload_id))
            connection.execute(delete(uploads).where(old))

    def delete_orphans(self) -> None:
        """Deletes the blobs that crashes left of parts without a row."""
        with self._database.read() as connection:
            self._blobs.delete_orphans(set(connection.scalars(select(parts.c.id))))

    def _require_pending(self, upload_id: str, *, or_completed_from: Sequence[str] | None = None) -> RowMapping:
        with self._database.read() as connection:
            row = self._row(connection, upload_id)
        if row["status"] != "completed" or or_completed_from is None or row["part_ids"] != list(or_completed_from):
            _check_pending(row)
        return row

    def _check_parts(self, upload: RowMapping, part_ids: Sequence[str]) -> None:
        with self._database.read() as connection:
            rows = connection.execute(select(parts.c.id, parts.c.bytes).where(parts.c.upload_id == upload["id"]))
            sizes: dict[str, int] = {row.id: row.bytes for row in rows}
        for part_id in part_ids:
            if part_id not in sizes:
                raise BadRequestError(f"No such Part object of this upload: {part_id}", param="part_ids")
        if len(set(part_ids)) < len(part_ids):
            raise BadRequestError("A part occurs twice in 'part_ids'.", param="part_ids")
        total = sum(sizes[part_id] for part_id in part_ids)
        if total != upload["bytes"]:
            raise BadRequestError(
                f"The parts have {total:,} bytes, but the upload was created for {upload['bytes']:,}.", param="part_ids"
            )

    def _join(self, part_ids: Sequence[str], md5: str | None, out: IO[bytes]) -> None:
        """Join the parts in chunks, so that memory use does not depend on the size of the file."""
        digest = hashlib.md5(usedforsecurity=False)
        for part_id in part_ids:
            with self._blobs.local_copy(part_id).open("rb") as part:
                while chunk := part.read(_CHUNK_BYTES):
                    out.write(chunk)
                    if md5 is not None:
                        digest.update(chunk)
        if md5 is not None and digest.hexdigest() != md5.lower():
            message = f"The md5 of the parts is {digest.hexdigest()}, not '{md5[:64]}'."
            raise BadRequestError(message, param="md5")

    def _delete_parts(self, upload_id: str) -> None:
        with self._database.read() as connection:
            ids = connection.scalars(select(parts.c.id).where(parts.c.upload_id == upload_id)).all()
        for part_id in ids:
            self._blobs.delete(part_id)
        with self._database.write() as connection:
            connection.execute(delete(parts).where(parts.c.upload_id == upload_id))

    def _row(self, connection: Connection, upload_id: str) -> RowMapping:
        row = connection.execute(self._visible(uploads).where(uploads.c.id == upload_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No such Upload object: {upload_id}", param="id")
        return row


class _EndedError(Exception):
    """Another call ended the upload between the check and the update."""


def _end(connection: Connection, upload_id: str, status: UploadStatus, **values: Any) -> None:
    pending = (uploads.c.id == upload_id) & (uploads.c.status == "pending")
    if not connection.execute(update(uploads).where(pending).values(status=status, **values)).rowcount:
        raise _EndedError


def _status(row: RowMapping) -> UploadStatus:
    expired = row["status"] == "pending" and row["expires_at"] <= now()
    status: UploadStatus = "expired" if expired else row["status"]
    return status


def _check_pending(row: RowMapping) -> None:
    status = _status(row)
    if status != "pending":
        message = (
            f"The upload {row['id']} is {status}; only a pending one accepts parts, and can be completed or cancelled."
        )
        raise BadRequestError(message, param="upload_id", code="upload_not_pending")


def _upload(row: RowMapping) -> Upload:
    values = {key: row[key] for key in ("id", "bytes", "created_at", "filename", "purpose", "expires_at", "file")}
    return Upload(**values, status=_status(row))
