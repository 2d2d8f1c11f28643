"""Bytes under names that the store chose; names from requests never reach this module.

A blob is written to a temporary file, synced to disk, then renamed: it exists completely or not at all. A file that is
already in the folder is linked instead of being copied.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from luthier.store.checksums import Content
from luthier.types.common import now

FILES = "files"  # the folder of the files' blobs
_COPY_BYTES = 1 << 20
_ORPHAN_AGE_S = 24 * 3600  # longer than any time between the creation of a blob and that of its row


Source = Callable[[IO[bytes]], None] | Path  # writes the content, or has it


class Blobs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, source: Source) -> Content:
        """The blob of a source: its size and checksum. An error of the source leaves nothing behind.

        A path is that of a file in `folder` which nobody changes any more; its name goes when its owner deletes it.
        """
        if isinstance(source, Path):
            return self._adopt(name, source)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as out:
                source(out)
                out.flush()
                os.fsync(out.fileno())
            content = Content.of(Path(temporary))
            Path(temporary).replace(self.path(name))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return content

    def _adopt(self, name: str, source: Path) -> Content:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        content = Content.of(source)
        try:
            os.link(source, self.path(name))
        except OSError:  # a file system without hard links
            return self.write(name, lambda out: _copy_file(source, out))
        _sync_folder(self.folder)
        return content

    def path(self, name: str) -> Path:
        """The blob's file, for reading."""
        return self.folder / name

    def place(self, name: str, target: Path) -> None:
        """Makes the content readable at `target`, durably: as a hard link, or as a copy on another file system.

        A blob is never modified, so the link stays what it is; deleting the blob does not affect it. Raises
        FileNotFoundError.
        """
        target.unlink(missing_ok=True)
        try:
            os.link(self.path(name), target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            self._copy(name, target)
        _sync_folder(target.parent)

    def _copy(self, name: str, target: Path) -> None:
        with target.open("wb") as out:
            _copy_file(self.path(name), out)
            out.flush()
            os.fsync(out.fileno())

    def delete_orphans(self, names: Collection[str]) -> None:
        """Deletes blobs not in `names` and temporary files, both left by crashes, once they are a day old."""
        for path in self.folder.iterdir():
            if path.name not in names and path.stat().st_mtime < now() - _ORPHAN_AGE_S:
                path.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)


def _copy_file(source: Path, out: IO[bytes]) -> None:
    with source.open("rb") as file:
        shutil.copyfileobj(file, out, _COPY_BYTES)


def _sync_folder(folder: Path) -> None:
    """Flushes a new directory entry to disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
