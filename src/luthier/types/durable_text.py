"""Small text files that are read again after a crash."""

import os
from pathlib import Path


def write_durably(path: Path, text: str) -> None:
    """The file has all of `text`, or stays as it was, whatever ends the process or the machine meanwhile.

    Raises OSError, after which it is as it was.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
