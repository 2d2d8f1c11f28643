"""Files that are read again after a crash: complete, or as they were before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replace_durably(path: Path) -> Iterator[IO[bytes]]:
    """An empty file that takes the place of `path` when the block ends, whatever ends the process or the machine.

    Raises OSError, as the block may; then `path` is as it was, and nothing else is left.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_durably(path: Path, text: str) -> None:
    """The file has all of `text`, in UTF-8, or stays as it was. Raises OSError, after which it is as it was."""
    with replace_durably(path) as file:
        file.write(text.encode())
