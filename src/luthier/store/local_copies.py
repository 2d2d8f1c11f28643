"""Local copies of objects in a bucket, kept below a size limit by LRU eviction."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from luthier.store.bucket import Bucket
from luthier.types.common import now

_MIN_UNUSED_S = 3600  # a recently used model or file may still be read


class _Copy(NamedTuple):
    """A file, or the folder of a model."""

    path: Path
    bytes: int
    used_at: float


class LocalCopies:
    """Copies of the objects in `bucket`, under the same names in the data folder."""

    def __init__(self, data: Path, bucket: Bucket, max_bytes: int) -> None:
        self._data, self.bucket, self._max_bytes = data, bucket, max_bytes

    def evict(self, *folders: str) -> None:
        """Delete copies in `folders` until they take at most `max_bytes`. A file that is not in the bucket is not a
        copy."""
        copies = sorted(self._in(folders), key=lambda copy: copy.used_at)
        total = sum(copy.bytes for copy in copies)
        for copy in copies:
            if total <= self._max_bytes or copy.used_at > now() - _MIN_UNUSED_S:
                return
            if all(self.bucket.has(file.relative_to(self._data).as_posix()) for file in _files(copy.path)):
                shutil.rmtree(copy.path) if copy.path.is_dir() else copy.path.unlink(missing_ok=True)
                total -= copy.bytes

    def _in(self, folders: Iterable[str]) -> Iterator[_Copy]:
        for path in (path for folder in folders for path in (self._data / folder).glob("[!.]*")):
            try:
                size_bytes = sum(file.stat().st_size for file in _files(path))
                yield _Copy(path, size_bytes, max(path.stat().st_atime, path.stat().st_mtime))
            except FileNotFoundError:  # deleted meanwhile
                continue


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
