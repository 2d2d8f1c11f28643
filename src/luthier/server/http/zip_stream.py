"""A folder as a ZIP archive that is built while it is sent, without buffering it in memory or on disk."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from fastapi.responses import StreamingResponse

_CHUNK_BYTES = 1 << 20
_WRITTEN_AT = (1980, 1, 1, 0, 0, 0)  # the same folder gives the same archive


class _Sink:
    """The output of `zipfile`; `take` returns the bytes written since the last call."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """`zipfile` calls it."""

    def close(self) -> None:
        """`zipfile` asks for it."""

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def zip_of(folder: Path) -> Iterator[bytes]:
    """Yield an archive of every file of the folder, uncompressed, since weights hardly compress."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _WRITTEN_AT)
            info.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK_BYTES):
                    target.write(chunk)
                    yield sink.take()
    yield sink.take()


def zip_response(folder: Path, name: str) -> StreamingResponse:
    """A response with the archive. `name`: its file name in ASCII, without the suffix."""
    headers = {"content-disposition": f'attachment; filename="{name}.zip"'}
    return StreamingResponse(zip_of(folder), media_type="application/zip", headers=headers)
