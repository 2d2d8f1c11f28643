"""Replaces files so that after a crash they are either complete or as they were before."""

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
            is left.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with partial.open("wb") as file:
            if mode is not None:
                partial.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_durably(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replaces the content of `path` by `text` in UTF-8, as `replace_durably` does. Raises OSError."""
    with replace_durably(path, mode=mode) as file:
        file.write(text.encode())
