"""Downloads the files of an account. A file appears when it is complete; an interrupted download is resumed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai

from luthier.generate.retries import MAX_ATTEMPTS, is_permanent, retry_delay_s
from luthier.migrate.account import Account, gap
from luthier.migrate.folder import JsonLines, RecordingFolder, sha256
from luthier.migrate.inventory import FileEntry
from luthier.types.durable_text import rename_durably

_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2"}
_UNSATISFIABLE = 416


class PartialFile:
    """The part of a download that has arrived, in a file beside its target."""

    def __init__(self, target: Path) -> None:
        self._target, self._path = target, target.with_name(target.name + ".part")

    @property
    def size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def start(self, *, append: bool) -> Any:
        return self._path.open("ab" if append else "wb")

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)

    def finish(self) -> None:
        with self._path.open("rb+") as content:
            os.fsync(content.fileno())
        rename_durably(self._path, self._target)


async def download(account: Account, file_id: str, target: Path) -> None:
    """Downloads the content of a file to `target`.

    Raises:
        openai.APIError: A permanent error, or the last of several transient ones.
    """
    partial = PartialFile(target)
    for attempt in range(MAX_ATTEMPTS):
        last = attempt == MAX_ATTEMPTS - 1
        try:
            async with account.places:
                await _continue(account, file_id, partial)
        except openai.APIError as error:
            if isinstance(error, openai.APIStatusError) and error.status_code == _UNSATISFIABLE:
                partial.discard()
            elif last or is_permanent(error):
                raise
            await asyncio.sleep(retry_delay_s(error, attempt, random.random()))  # noqa: S311 - jitter
        except Exception as error:
            # While a body is read, the client does not wrap the errors of its HTTP library.
            if type(error).__module__.partition(".")[0] not in _HTTP_LIBRARIES or last:
                raise
            await asyncio.sleep(0.1 * 2**attempt)
        else:
            partial.finish()
            return


async def _continue(account: Account, file_id: str, partial: PartialFile) -> None:
    """Sends one request, which resumes the download if the service supports ranges, else starts it again."""
    offset = partial.size
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    content = account.client.files.with_streaming_response.content(file_id, extra_headers=headers)
    async with content as response:
        append = response.status_code == 206 and response.headers.get("content-range", "").startswith(
            f"bytes {offset}-"
        )
        with partial.start(append=append) as out:
            async for chunk in response.iter_bytes():
                out.write(chunk)


class FileRecorder:
    """Records files; `files.jsonl` has the metadata of each file with its path and checksum, or with the error."""

    def __init__(
        self, account: Account, folder: RecordingFolder, *, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self._account, self._folder, self._progress = account, folder, progress
        self.lines: JsonLines = folder.lines("files")

    async def record(self, files: Iterable[FileEntry], metadata: dict[str, dict[str, Any]]) -> None:
        """Downloads the files that are not recorded yet; `metadata` are the fields of each file by id."""
        entries = list(files)
        total = len(entries)
        for start in range(0, total, 16):
            await asyncio.gather(*(self._record(file, metadata.get(file.id, {})) for file in entries[start:][:16]))
            self._progress(min(start + 16, total), total)
        if self.lines.has_superseded_lines:
            self.lines.rewrite()

    def path(self, file_id: str) -> Path | None:
        """The path of a file's recorded content; None if it was not recorded."""
        name = self.lines.entries.get(file_id, {}).get("path")
        path = self._folder.root / str(name) if name else None
        return path if path and path.exists() else None

    async def _record(self, file: FileEntry, metadata: dict[str, Any]) -> None:
        """Downloads a file, unless it is recorded, and appends its line: with path and checksum, or with the error."""
        if self.path(file.id):
            return
        entry: dict[str, Any] = {**metadata, "id": file.id}
        if file.state == "deleted":
            self.lines.append({**entry, "path": None, "error": {"status": 404, "message": file.error}})
            return
        target = self._folder.file(file.id, file.filename)
        try:
            await download(self._account, file.id, target)
        except openai.APIError as error:
            refusal = gap(f"file {file.id}", error)
            details = {"status": refusal.status, "code": refusal.code, "message": refusal.message}
            self.lines.append({**entry, "path": None, "error": details})
            return
        size, digest = target.stat().st_size, await asyncio.to_thread(sha256, target)
        recorded = {"path": self._folder.relative(target), "recorded_bytes": size, "sha256": digest}
        self.lines.append({**entry, **recorded})
