"""Replaces files so that after a crash they are either complete or as they were before, and new names that last."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replace_durably(path: Path, *, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Yields an empty file that replaces `path` when the block ends, flushed to disk before it is renamed.

    `mode` sets the permissions of the file before anything is written to it; None leaves them to the umask. One thread
    at a time may replace a path.

    Raises:
        OSError: The file cannot be written. After this or any error of the block, `path` is unchanged and no other file
            is left; only if the disk fails while the new name is flushed, the new content is there already.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with partial.open("wb") as file:
            if mode is not None:
                partial.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename_durably(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def rename_durably(source: Path, target: Path) -> None:
    """Renames a file or folder whose content is flushed already; it replaces the file `target`.

    Flushing another file afterwards, such as that of a database, need not flush the new name: on ext4 it does not if
    nothing but that file's data changed. A row could then outlive the file that it names. Raises OSError.
    """
    source.replace(target)
    flush_folder(target.parent)


def flush_folder(folder: Path) -> None:
    """fsync the names in a folder, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replaces the content of `path` by `text` in UTF-8, as `replace_durably` does. Raises OSError."""
    with replace_durably(path, mode=mode) as file:
        file.write(text.encode())
