"""SHA-256 checksums of files and models in the data folder, kept in the database from the moment they are written.

A bit that flips on a disk, or a file that is cut short, is found when the content is read for training, serving or
download, instead of being trained on or handed out.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, String, Table, Text, delete, insert, select

from luthier.store.database import Database, metadata
from luthier.types.errors import CorruptDataError

_CHUNK_BYTES = 1 << 20

checksums = Table(
    "checksums",
    metadata,
    Column("path", Text, primary_key=True),  # relative to the data folder
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)


class Content(NamedTuple):
    """Size in bytes and SHA-256 (hexadecimal) of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Content":
        """Raises FileNotFoundError."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return cls(size, digest.hexdigest())


class Checksums:
    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder

    def verify(self, path: Path, what: str) -> None:
        """Compares a file, or every file of a folder, with its checksum; content without one is taken as it is.

        Args:
            what: names the content in the error, such as "The file file-1".

        Raises:
            CorruptDataError: A file differs or is missing.
        """
        damaged = list(self._damaged(self._recorded(path)))
        if damaged:
            raise CorruptDataError(
                f"{what} is damaged on this server's disk: {', '.join(damaged)} does not match its checksum. Restore "
                "it from a backup (luthier restore), or create it again."
            )

    def verify_all(self) -> Iterator[tuple[str, bool]]:
        """Every path that has a checksum, and whether its content matches."""
        for path, content in self._recorded(self._folder).items():
            yield path, not any(self._damaged({path: content}))

    def sha256(self, path: Path) -> str | None:
        """The checksum that was recorded when a file was written; None without one."""
        content = self._recorded(path).get(path.relative_to(self._folder).as_posix())
        return content.sha256 if content else None

    def _recorded(self, path: Path) -> dict[str, Content]:
        relative = path.relative_to(self._folder).as_posix()
        query = select(checksums)
        if relative != ".":
            query = query.where(_at_or_inside(relative))
        with self._database.read() as connection:
            return {row.path: Content(row.bytes, row.sha256) for row in connection.execute(query)}

    def _damaged(self, recorded: Mapping[str, Content]) -> Iterator[str]:
        for path, content in recorded.items():
            try:
                intact = Content.of(self._folder / path) == content
            except FileNotFoundError:
                intact = False
            if not intact:
                yield path


def record_checksum(connection: Connection, path: str, content: Content) -> None:
    """In the transaction of the row that the content belongs to."""
    delete_checksums(connection, path)
    connection.execute(insert(checksums).values(path=path, bytes=content.bytes, sha256=content.sha256))


def contents(folder: Path) -> dict[str, Content]:
    """Every file in a folder that is not modified any more, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): Content.of(path) for path in files}


def delete_checksums(connection: Connection, path: str) -> None:
    """Of a file or of everything in a folder."""
    connection.execute(delete(checksums).where(_at_or_inside(path)))


def _at_or_inside(path: str) -> ColumnElement[bool]:
    """As a range of the primary key: what begins with `path/` is less than `path0`."""
    column = checksums.c.path
    return (column == path) | ((column >= f"{path}/") & (column < f"{path}0"))
