"""SHA-256 checksums of files and models in the data folder, kept in the database from the moment they are written.

A flipped bit or a truncated file is detected when the content is read for training, serving or download, before it is
used.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Table, delete, insert, select

from luthier.store.bucket import Bucket
from luthier.store.column_types import LongText, short_text
from luthier.store.content import Content
from luthier.store.database import Database, metadata
from luthier.types.errors import CorruptDataError

checksums = Table(
    "checksums",
    metadata,
    Column("path", LongText, primary_key=True),  # relative to the data folder
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", short_text(64), nullable=False),
)


class Checksums:
    """Paths are relative to the data folder; with a bucket, it has copies of the objects there under the same names."""

    def __init__(self, database: Database, folder: Path, bucket: Bucket | None = None) -> None:
        self._database, self._folder, self._bucket = database, folder, bucket

    def verify(self, path: Path, what: str) -> None:
        """Compare a file, or every file of a folder, with its checksum; content without a checksum is accepted.

        A local copy of an object that differs is downloaded again.

        Args:
            what: names the content in the error, such as "The file file-1".

        Raises:
            CorruptDataError: A file differs or is missing.
        """
        recorded = self._recorded(path)
        damaged = list(self._damaged(recorded))
        if damaged and self._bucket:
            for name in damaged:
                with suppress(FileNotFoundError):
                    self._bucket.fetch(name, self._folder / name)
            damaged = list(self._damaged({name: recorded[name] for name in damaged}))
        if damaged:
            missing = [name for name in damaged if not (self._folder / name).exists()]
            raise CorruptDataError(
                (
                    f"{what} is incomplete on this server's disk: {', '.join(missing)} is missing."
                    if missing
                    else f"{what} is damaged on this server's disk: {', '.join(damaged)} does not match its checksum."
                )
                + " Restore it from a backup (luthier restore), or create it again."
            )

    def verify_all(self) -> Iterator[tuple[str, bool]]:
        """Every path that has a checksum, and whether its content matches: in the bucket, if there is one."""
        for path, content in self._recorded(self._folder).items():
            try:
                stored = self._bucket.content(path) if self._bucket else Content.of(self._folder / path)
            except FileNotFoundError:
                stored = None
            yield path, stored == content

    def sha256(self, path: Path) -> str | None:
        """The checksum that was recorded when a file was written; None without one."""
        content = self._recorded(path).get(path.relative_to(self._folder).as_posix())
        return content.sha256 if content else None

    def _recorded(self, path: Path) -> dict[str, Content]:
        relative = path.relative_to(self._folder).as_posix()
        with self._database.read() as connection:
            return recorded_contents(connection, "" if relative == "." else relative)

    def _damaged(self, recorded: Mapping[str, Content]) -> Iterator[str]:
        for path, content in recorded.items():
            try:
                intact = Content.of(self._folder / path) == content
            except FileNotFoundError:
                intact = False
            if not intact:
                yield path


def recorded_contents(connection: Connection, path: str) -> dict[str, Content]:
    """Checksums by path: of a file, of everything in a folder, or, for an empty path, of all content."""
    query = select(checksums)
    if path:
        query = query.where(_at_or_inside(path))
    return {row.path: Content(row.bytes, row.sha256) for row in connection.execute(query)}


def record_checksum(connection: Connection, path: str, content: Content) -> None:
    """Record a checksum, in the transaction of the row that the content belongs to."""
    delete_checksums(connection, path)
    connection.execute(insert(checksums).values(path=path, bytes=content.bytes, sha256=content.sha256))


def delete_checksums(connection: Connection, path: str) -> None:
    """Delete the checksums of a file or of everything in a folder."""
    connection.execute(delete(checksums).where(_at_or_inside(path)))


def _at_or_inside(path: str) -> ColumnElement[bool]:
    """Whether a path equals `path` or is inside it, as a range of the primary key: everything that begins with
    `path/` is less than `path0`."""
    column = checksums.c.path
    return (column == path) | ((column >= f"{path}/") & (column < f"{path}0"))
