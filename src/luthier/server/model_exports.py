"""Exports requested by clients: each is a `luthier export` process, one at a time, that writes into the data folder.

A successful export is a folder with a metadata file beside it. Others exist only in memory: a server that stops ends
its exports, and clients have to request them again.
"""

import asyncio
import codecs
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from luthier.language import Language
from luthier.types.common import now
from luthier.types.durable_text import write_durably
from luthier.types.errors import NotFoundError, RateLimitError
from luthier.types.ids import new_id

_PROGRAM = (sys.executable, "-m", "luthier", "export", "--stages", "--json")
_MAX_WAITING = 8
_READ_BYTES = 65536
_MAX_ERROR_CHARACTERS = 2000


@dataclass(frozen=True)
class Export:
    """`to`: as in `luthier export --to`. `bytes`: total size of its files, None until they exist.

    `stage`: the current stage while it runs. `artefacts`, `trained_exact`: from `luthier export --json`. `error`: why
    it failed, or which artefacts of a successful one were deleted.
    """

    id: str
    model: str
    to: str
    status: Literal["queued", "running", "succeeded", "failed"]
    created_at: int
    bytes: int | None = None
    stage: dict[str, str] | None = None
    artefacts: list[dict[str, Any]] = field(default_factory=list)
    trained_exact: int | None = None
    error: str | None = None
    created_ns: int = field(default_factory=time.time_ns)  # orders exports of one second


class ModelExports:
    """Exports in the folder `exports` of the data folder `data`, each in a folder named by its id. `program`: the
    export command."""

    def __init__(self, data: Path, program: Sequence[str] = _PROGRAM) -> None:
        self._data, self._folder, self._program = data, data / "exports", program
        self._unfinished: dict[str, Export] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def start(self, model: str, to: str, *, base_id: str | None = None, language: Language = "en") -> Export:
        """Start an export; must run in the event loop. `base_id`, `language`: `--base-id`, `--lang`. Raises
        RateLimitError for too many."""
        if sum(export.status != "failed" for export in self._unfinished.values()) >= _MAX_WAITING:
            raise RateLimitError(f"{_MAX_WAITING} exports are already waiting. Try again when one has ended.")
        export = Export(new_id("export-"), model, to, "queued", now())
        self._unfinished[export.id] = export
        options = ("--to", to, "--lang", language, *(("--base-id", base_id) if base_id else ()))
        task = asyncio.create_task(self._run(export, options))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return export

    def list(self, model: str) -> Sequence[Export]:
        """The exports, newest first."""
        written = [Export(**json.loads(path.read_text(encoding="utf-8"))) for path in self._folder.glob("*.json")]
        exports = [export for export in [*written, *self._unfinished.values()] if export.model == model]
        return sorted(exports, key=lambda export: (export.created_at, export.created_ns), reverse=True)

    def path(self, model: str, export_id: str) -> Path:
        """The folder of a successful export. Raises NotFoundError."""
        self._find(model, export_id, "succeeded")
        return self._folder / export_id

    def delete(self, model: str, export_id: str) -> None:
        """Delete a finished export. Raises NotFoundError."""
        self._find(model, export_id, "succeeded", "failed")
        self._unfinished.pop(export_id, None)
        self._note(export_id).unlink(missing_ok=True)
        shutil.rmtree(self._folder / export_id, ignore_errors=True)

    async def aclose(self) -> None:
        """End all running exports."""
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

    async def _run(self, export: Export, options: Sequence[str]) -> None:
        async with self._turn:
            self._unfinished[export.id] = replace(export, status="running")
            self._folder.mkdir(mode=0o700, exist_ok=True)
            out = self._folder / export.id
            ended = await self._export(export, (*options, "--out", str(out), "--data", str(self._data)))
            if not out.is_dir():
                self._unfinished[export.id] = replace(ended, status="failed")
                return
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            ended = replace(ended, status="succeeded", bytes=size)
            write_durably(self._note(export.id), json.dumps(asdict(ended)))
            del self._unfinished[export.id]

    async def _export(self, export: Export, options: Sequence[str]) -> Export:
        """Run the command. Returns the export with its result or its error."""
        process: Any = await asyncio.create_subprocess_exec(
            *(*self._program, *options, "--", export.model),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONUTF8": "1"},  # whatever the locale
        )
        try:
            messages, ended = await asyncio.gather(process.stderr.read(), self._follow(export, process.stdout))
            await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if process.returncode and ended.error is None:
            last = messages.decode("utf-8", "replace").strip() or f"exit {process.returncode}"
            return replace(ended, error=last[-_MAX_ERROR_CHARACTERS:])
        return ended

    async def _follow(self, export: Export, output: asyncio.StreamReader) -> Export:
        """Read JSON documents from the output: stages, which clients see immediately, the result, an error."""
        buffer, decoder, ended = "", codecs.getincrementaldecoder("utf-8")("replace"), export
        while chunk := await output.read(_READ_BYTES):
            documents, buffer = _documents(buffer + decoder.decode(chunk))
            for document in documents:
                if "stage" in document:
                    self._unfinished[export.id] = replace(export, status="running", stage=document)
                elif "error" in document:
                    text = "\n".join(filter(None, (document["error"][name] for name in ("message", "remedy"))))
                    ended = replace(ended, error=text[-_MAX_ERROR_CHARACTERS:])
                else:
                    artefacts, exact = document["artefacts"], document["trained_exact"]
                    ended = replace(ended, artefacts=artefacts, trained_exact=exact)
        return ended


def _documents(text: str) -> tuple[list[dict[str, Any]], str]:
    """The complete JSON documents that `text` begins with, and the rest."""
    documents, decoder = [], json.JSONDecoder()
    with suppress(json.JSONDecodeError):
        while text := text.lstrip():
            document, end = decoder.raw_decode(text)
            documents.append(document)
            text = text[end:]
    return documents, text
