"""Blobs: content under names that the store chooses; names from requests never reach this module.

Blobs are in a local folder, or in a bucket with copies in that folder. A blob is written to a temporary file, synced to
disk, then renamed: it exists completely or not at all. A file that is already in the folder is linked instead of being
copied.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from luthier.store.bucket import Bucket
from luthier.store.content import Content
from luthier.types.common import now
from luthier.types.durable_text import flush_folder, rename_durably, replace_durably
from luthier.types.errors import UnavailableError

FILES, UPLOADS = "files", "uploads"  # where the blobs of files and of parts are
_COPY_BYTES = 1 << 20
_ORPHAN_AGE_S = 24 * 3600  # longer than any time between the creation of a blob and that of its row


Source = Callable[[IO[bytes]], None] | Path  # writes the content, or has it


class Blobs(Protocol):
    """`folder`: where content to be written is received, on this machine."""

    folder: Path

    def write(self, name: str, source: Source) -> Content:
        """Write the content of `source` as a blob and return its size and checksum. An error of the source leaves
        nothing behind.

        A `source` that is a path must be a file in `folder` that is no longer modified; its owner deletes its name.
        """
        ...

    def local_copy(self, name: str) -> Path:
        """Return a file with the blob's content, for reading; it is downloaded if it is not on this machine.

        Raises FileNotFoundError.
        """
        ...

    def read(self, name: str) -> bytes:
        """Return the whole content; for small blobs that are overwritten under the same name. Raises
        FileNotFoundError."""
        ...

    def place(self, name: str, target: Path) -> None:
        """Makes the content readable at `target`, durably: as a hard link, or as a copy on another file system.

        A blob is never modified, so the link stays valid; deleting the blob does not affect it. Raises
        FileNotFoundError.
        """

    def delete_orphans(self, names: Collection[str]) -> None:
        """Deletes blobs not in `names` and temporary files, both left by crashes, once they are a day old."""

    def delete(self, name: str) -> None: ...


class FolderBlobs:
    """Blobs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, source: Source) -> Content:
        if isinstance(source, Path):
            return self._adopt(name, source)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as out:
                source(out)
                out.flush()
                os.fsync(out.fileno())
            content = Content.of(Path(temporary))
            rename_durably(Path(temporary), self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return content

    def _adopt(self, name: str, source: Path) -> Content:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        content = Content.of(source)
        try:
            os.link(source, self.folder / name)
        except OSError:  # a file system without hard links
            return self.write(name, lambda out: _copy_file(source, out))
        flush_folder(self.folder)
        return content

    def local_copy(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise FileNotFoundError(path)
        return path

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def place(self, name: str, target: Path) -> None:
        target.unlink(missing_ok=True)
        try:
            os.link(self.folder / name, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            self._copy(name, target)
        flush_folder(target.parent)

    def _copy(self, name: str, target: Path) -> None:
        """Complete or not at all: who finds the target takes it for the whole content."""
        with replace_durably(target) as out:
            _copy_file(self.folder / name, out)

    def delete_orphans(self, names: Collection[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in names and path.stat().st_mtime < now() - _ORPHAN_AGE_S:
                path.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class BucketBlobs:
    """Blobs in a bucket, under `prefix`; those that this machine wrote or read are also in `folder`."""

    def __init__(self, bucket: Bucket, prefix: str, folder: Path) -> None:
        self._bucket, self._prefix, self.folder = bucket, prefix, folder
        self._copies = FolderBlobs(folder)

    def write(self, name: str, source: Source) -> Content:
        content = self._copies.write(name, source)
        try:
            self._bucket.put(self._key(name), self.folder / name)
        except BaseException:
            self._copies.delete(name)
            raise
        return content

    def local_copy(self, name: str) -> Path:
        path = self.folder / name
        if path.exists():
            mark_used(path)
        else:
            self._bucket.fetch(self._key(name), path)
        return path

    def read(self, name: str) -> bytes:
        return self._bucket.read(self._key(name))

    def place(self, name: str, target: Path) -> None:
        self.local_copy(name)
        self._copies.place(name, target)

    def delete_orphans(self, names: Collection[str]) -> None:
        self._copies.delete_orphans(names)
        for entry in self._bucket.list_hourly(self._prefix):
            if entry.key.rpartition("/")[2] not in names and entry.modified_at < now() - _ORPHAN_AGE_S:
                self._bucket.delete(entry.key)

    def delete(self, name: str) -> None:
        self._copies.delete(name)
        with suppress(UnavailableError):  # then it is an orphan
            self._bucket.delete(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"


def mark_used(path: Path) -> None:
    """Set the time of the last access, by which local copies are evicted; file systems may not update it themselves."""
    with suppress(FileNotFoundError):
        os.utime(path, (now(), path.stat().st_mtime))


def _copy_file(source: Path, out: IO[bytes]) -> None:
    with source.open("rb") as file:
        shutil.copyfileobj(file, out, _COPY_BYTES)
