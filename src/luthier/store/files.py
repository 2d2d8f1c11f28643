"""Files: a row and a blob each."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, RowMapping, Select, Table, delete, insert, select

from luthier.store.blobs import FILES, Blobs, Source
from luthier.store.checksums import Checksums, delete_checksums, record_checksum
from luthier.store.database import Database, files
from luthier.store.imports import imported_files
from luthier.store.key_quotas import charge_bytes
from luthier.store.outages import may_be_committed
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import is_seeded, resource_id
from luthier.types.common import now
from luthier.types.errors import CorruptDataError, NotFoundError
from luthier.types.files import BATCH_FILE_S, FileObject

REPORT = ".report"  # appended to a file's id: the blob of its validation report


class Files(Scoped):
    def __init__(self, database: Database, blobs: Blobs, checksums: Checksums) -> None:
        self._database, self._blobs, self._checksums = database, blobs, checksums

    @property
    def folder(self) -> Path:
        """The folder where a new file is received, before `create` takes it over."""
        return self._blobs.folder

    def create(
        self,
        filename: str,
        purpose: str,
        source: Source,
        *,
        expires_after_s: int | None = None,
        also: Callable[[Connection, FileObject], None] = lambda connection, file: None,
    ) -> FileObject:
        """Create a file with the content of `source`. Its row is inserted once the content is on disk.

        `also` runs in the row's transaction; if it raises, no file is created. If it is unknown whether the row was
        committed, the content is kept; without a row it is an orphan. Raises RateLimitError above the limit of the
        caller's key.
        """
        file_id, created = resource_id("file-"), now()
        if is_seeded():
            with suppress(NotFoundError):
                return self.retrieve(file_id)  # of an earlier try
        content = self._blobs.write(file_id, source)
        if expires_after_s is None and purpose == "batch":
            expires_after_s = BATCH_FILE_S
        values: dict[str, Any] = {
            "id": file_id,
            "filename": filename,
            "purpose": purpose,
            "bytes": content.bytes,
            "created_at": created,
            "expires_at": created + expires_after_s if expires_after_s else None,
        }
        try:
            with self._database.write() as connection:
                connection.execute(insert(files).values(**values, project=self._new_row_project))
                record_checksum(connection, f"{FILES}/{file_id}", content)
                also(connection, FileObject(**values))
                charge_bytes(connection, file_id, content.bytes)
        except BaseException as error:
            if not may_be_committed(error):
                self._blobs.delete(file_id)
            raise
        return FileObject(**values)

    def retrieve(self, file_id: str) -> FileObject:
        """Raises NotFoundError in OpenAI's words, also for an expired file."""
        with self._database.read() as connection:
            row = connection.execute(self._visible(files).where(files.c.id == file_id)).mappings().first()
        if row is None or (row["expires_at"] and row["expires_at"] <= now()):
            raise NotFoundError(f"No such File object: {file_id}", param="id")
        return _file(row)

    def list(self, *, purpose: str | None, limit: int, ascending: bool, after: str | None) -> Page[FileObject]:
        with self._database.read() as connection:
            query = self._visible(files).where((files.c.expires_at.is_(None)) | (files.c.expires_at > now()))
            if purpose:
                query = query.where(files.c.purpose == purpose)
            return fetch_page(connection, query, files, _file, limit=limit, after=after, ascending=ascending)

    def path(self, file_id: str) -> Path:
        """The path of a local file with the content. Raises NotFoundError; CorruptDataError if the content differs from
        what was written.
        """
        path = self._blobs.folder / self.retrieve(file_id).id
        try:
            with suppress(FileNotFoundError):  # which its checksum decides
                self._blobs.local_copy(file_id)
            self._checksums.verify(path, f"The file {file_id}")
        except CorruptDataError:
            self.retrieve(file_id)  # it may have been deleted meanwhile
            raise
        if not path.exists():
            raise NotFoundError(f"No such File object: {file_id}", param="id")
        return path

    def sha256(self, file_id: str) -> str | None:
        """The SHA-256 of the content, in hexadecimal; None for a deleted file or one without a checksum."""
        return self._checksums.sha256(self._blobs.folder / file_id)

    def place(self, file_id: str, target: Path) -> None:
        """Makes the content readable at `target`, where it outlives the file. Raises as `path` does."""
        self.path(file_id)
        self._blobs.place(file_id, target)

    def save_report(self, file_id: str, report: dict[str, Any]) -> None:
        """Store a validation report, which is deleted with its file; nothing happens for a deleted file."""
        name = file_id + REPORT
        self._blobs.write(name, lambda out: _write_json(out, report))
        try:
            self.retrieve(file_id)
        except NotFoundError:
            self._blobs.delete(name)

    def report(self, file_id: str) -> dict[str, Any]:
        """The validation report. Raises NotFoundError, also for a file that no job has validated."""
        try:
            report: dict[str, Any] = json.loads(self._blobs.read(self.retrieve(file_id).id + REPORT))
        except FileNotFoundError:
            raise NotFoundError(f"File {file_id} has no report: no job has validated it yet.", param="id") from None
        return report

    def delete_expired(self) -> None:
        with self._database.read() as connection:
            expired = connection.scalars(select(files.c.id).where(files.c.expires_at <= now())).all()
        for file_id in expired:
            self._delete(file_id)

    def delete_orphans(self) -> None:
        """Deletes the blobs that crashes left without a row."""
        with self._database.read() as connection:
            ids = set(connection.scalars(select(files.c.id)))
        self._blobs.delete_orphans(ids | {file_id + REPORT for file_id in ids})

    def delete(self, file_id: str) -> None:
        """Raises NotFoundError."""
        self.retrieve(file_id)
        self._delete(file_id)

    def _visible(self, table: Table) -> Select[Any]:
        """With the origin of imported files as `status_details`."""
        origin = ("Imported from " + imported_files.c.source).label("status_details")
        return super()._visible(table).add_columns(origin).outerjoin(imported_files, imported_files.c.id == table.c.id)

    def _delete(self, file_id: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(files).where(files.c.id == file_id))
            connection.execute(delete(imported_files).where(imported_files.c.id == file_id))
            delete_checksums(connection, f"{FILES}/{file_id}")
        self._blobs.delete(file_id)
        self._blobs.delete(file_id + REPORT)


def _write_json(out: IO[bytes], report: dict[str, Any]) -> None:
    out.write(json.dumps(report, ensure_ascii=False).encode())


def _file(row: RowMapping) -> FileObject:
    return FileObject(**{key: row[key] for key in FileObject.model_fields if key in row})
