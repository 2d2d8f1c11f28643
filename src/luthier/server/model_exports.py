"""Exports that clients ask for: each a `luthier export` of its own, one at a time, into the data folder.

An export that has ended well is a folder with a note beside it. Others are kept in memory: a server that is stopped
ends its exports, and a client asks again.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from luthier.types.common import new_id, now
from luthier.types.errors import NotFoundError, RateLimitError

_PROGRAM = (sys.executable, "-m", "luthier", "export")
_MAX_WAITING = 8
_MAX_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Export:
    """`to`: as `luthier export --to` has it. `bytes`: of its files, None until they are there."""

    id: str
    model: str
    to: str
    status: Literal["queued", "running", "succeeded", "failed"]
    created_at: int
    bytes: int | None = None
    error: str | None = None


class ModelExports:
    """Exports on the data folder `data`, under `exports`, each in a folder with its id. `program`: what exports."""

    def __init__(self, data: Path, program: Sequence[str] = _PROGRAM) -> None:
        self._data, self._folder, self._program = data, data / "exports", program
        self._unfinished: dict[str, Export] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def start(self, model: str, to: str) -> Export:
        """Inside the event loop. Raises RateLimitError where too many wait."""
        if sum(export.status != "failed" for export in self._unfinished.values()) >= _MAX_WAITING:
            raise RateLimitError(f"{_MAX_WAITING} exports wait already. Ask again when one has ended.")
        export = Export(new_id("export-"), model, to, "queued", now())
        self._unfinished[export.id] = export
        task = asyncio.create_task(self._run(export))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return export

    def list(self, model: str) -> Sequence[Export]:
        """Newest first."""
        written = [Export(**json.loads(path.read_text(encoding="utf-8"))) for path in self._folder.glob("*.json")]
        exports = [export for export in [*written, *self._unfinished.values()] if export.model == model]
        return sorted(exports, key=lambda export: (export.created_at, export.id), reverse=True)

    def path(self, model: str, export_id: str) -> Path:
        """The folder of an export that has ended well. Raises NotFoundError."""
        self._find(model, export_id, "succeeded")
        return self._folder / export_id

    def delete(self, model: str, export_id: str) -> None:
        """Of an export that has ended. Raises NotFoundError."""
        self._find(model, export_id, "succeeded", "failed")
        self._unfinished.pop(export_id, None)
        self._note(export_id).unlink(missing_ok=True)
        shutil.rmtree(self._folder / export_id, ignore_errors=True)

    async def aclose(self) -> None:
        """Ends the exports that run."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _find(self, model: str, export_id: str, *statuses: str) -> Export:
        for export in self.list(model):
            if export.id == export_id and export.status in statuses:
                return export
        raise NotFoundError(f"No such export: {export_id[:100]}", param="id")

    def _note(self, export_id: str) -> Path:
        return self._folder / f"{export_id}.json"

    async def _run(self, export: Export) -> None:
        async with self._turn:
            self._unfinished[export.id] = replace(export, status="running")
            self._folder.mkdir(mode=0o700, exist_ok=True)
            out = self._folder / export.id
            error = await self._export(export, out)
            if error is not None:
                self._unfinished[export.id] = replace(export, status="failed", error=error)
                return
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            ended = replace(export, status="succeeded", bytes=size)
            self._note(export.id).write_text(json.dumps(asdict(ended)), encoding="utf-8")
            del self._unfinished[export.id]

    async def _export(self, export: Export, out: Path) -> str | None:
        """Runs the command; the reason of a failure."""
        options = ("--to", export.to, "--out", str(out), "--data", str(self._data), "--lang", "en")
        process = await asyncio.create_subprocess_exec(
            *(*self._program, *options, "--", export.model),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, messages = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if process.returncode == 0:
            return None
        return messages.decode("utf-8", "replace").strip()[-_MAX_ERROR_CHARACTERS:] or f"exit {process.returncode}"
