"""The content of a file, for comparisons: its size and its SHA-256."""

import hashlib
from pathlib import Path
from typing import NamedTuple

_CHUNK_BYTES = 1 << 20


class Content(NamedTuple):
    """Size in bytes and SHA-256 (hexadecimal) of a file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Content":
        """Raises FileNotFoundError."""
        digest = Digest()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.add(chunk)
        return digest.content()


class Digest:
    """The `Content` of bytes that arrive in chunks."""

    def __init__(self) -> None:
        self._bytes, self._sha256 = 0, hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        self._sha256.update(chunk)

    def content(self) -> Content:
        return Content(self._bytes, self._sha256.hexdigest())


def contents(folder: Path) -> dict[str, Content]:
    """The content of every file in a folder that is no longer modified, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): Content.of(path) for path in files}
