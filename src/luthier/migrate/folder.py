"""The folder of a recording: files named after the account's ids, JSON lines that survive a crash, and documents."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.types.durable_text import write_durably
from luthier.types.errors import LuthierError

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,150}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_COPY_BYTES = 1 << 20


def file_stem(remote_id: str) -> str:
    """The file name for an id of the account.

    If the id contains characters other than `A-Za-z0-9_.-`, a hash is appended, so that no two ids share a name and no
    name leaves the folder.
    """
    if _PLAIN_ID.fullmatch(remote_id) and not remote_id.endswith("."):
        return remote_id
    digest = hashlib.sha256(remote_id.encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", remote_id).strip("_")[:150] + "-" + digest


def file_suffix(filename: str) -> str:
    """The extension of `filename`, or an empty string if it has unusual characters."""
    suffix = Path(filename).suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def write_text(path: Path, text: str) -> None:
    """Replaces a document, and creates its folder if necessary: after a crash it has the earlier or the new text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text)


def write_json(path: Path, document: Any) -> None:
    write_text(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(_COPY_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class JsonLines:
    """A file of objects, one per line, and these objects by id.

    Appended lines are flushed to disk before `append` returns. A last line that a crash cut off is dropped when the
    file is opened again. Of several lines with the same id, the last one is valid.
    """

    def __init__(self, path: Path, key: str = "id") -> None:
        self.path, self._key = path, key
        self.entries: dict[str, dict[str, Any]] = {}
        self._lines = 0
        if path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:end].split(b"\n")[:-1], start=1):
            try:
                entry = json.loads(line)
                self.entries[str(entry[self._key])] = entry
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(self.path, number) from error
            self._lines += 1
        if end < len(content):
            with self.path.open("r+b") as target:
                target.truncate(end)

    def append(self, *entries: dict[str, Any]) -> None:
        """Appends objects to the file; they are on disk when it returns."""
        if not entries:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(entry, ensure_ascii=True) + "\n" for entry in entries)
            out.flush()
            os.fsync(out.fileno())
        self._lines += len(entries)
        self.entries.update({str(entry[self._key]): entry for entry in entries})

    def merge(self, entries: Iterable[dict[str, Any]]) -> None:
        """Adds or replaces objects and rewrites the file. Recorded objects that are no longer in `entries` stay."""
        self.entries.update({str(entry[self._key]): entry for entry in entries})
        self.rewrite()

    def rewrite(self) -> None:
        """Rewrites the file with one line per object; without any object, no file is created."""
        if self.entries:
            lines = (json.dumps(entry, ensure_ascii=True) + "\n" for entry in self.entries.values())
            write_text(self.path, "".join(lines))
            self._lines = len(self.entries)

    @property
    def has_superseded_lines(self) -> bool:
        return self._lines > len(self.entries)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises LuthierError if the file contains anything else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, getattr(error, "lineno", 1)) from error
    if not isinstance(document, dict):
        raise _damaged(path, 1)
    return document


def _damaged(path: Path, line: int) -> LuthierError:
    return LuthierError(
        say(
            f"Line {line} of {path} is not valid in a recording. Correct or delete it; recording again restores it.",
            f"{path} 第 {line} 行不是录制应有的内容。请修正或删除该行；再次录制会补上。",
        )
    )


class RecordingFolder:
    """The paths of a recording, with its JSON lines."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "files").mkdir(exist_ok=True)

    @property
    def journal(self) -> Path:
        return self.root / "journal.sqlite"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory.json"

    @property
    def is_recording(self) -> bool:
        """Whether the folder contains a recording, even one whose first run has not finished."""
        return self.manifest.is_file() or self.inventory.is_file()

    def documents(self) -> Iterator[Path]:
        """The files of JSON lines, in order."""
        yield from sorted(self.root.glob("*.jsonl"))
        for name in ("events", "checkpoints", "answers"):
            yield from sorted((self.root / name).glob("*.jsonl"))

    def lines(self, name: str, key: str = "id") -> JsonLines:
        """The lines of `jobs`, `files`, `stored_completions` or `batches`."""
        return JsonLines(self.root / f"{name}.jsonl", key)

    def of_job(self, kind: str, job_id: str) -> JsonLines:
        """The lines of a job's `events` or `checkpoints`."""
        return JsonLines(self.root / kind / f"{file_stem(job_id)}.jsonl")

    def answers(self, model: str) -> JsonLines:
        return JsonLines(self.root / "answers" / f"{file_stem(model)}.jsonl", key="custom_id")

    def answer_lines(self, path: Path) -> Iterator[dict[str, Any]]:
        yield from JsonLines(path, key="custom_id").entries.values()

    def file(self, file_id: str, filename: str) -> Path:
        return self.root / "files" / (file_stem(file_id) + file_suffix(filename))

    def content(self, file: dict[str, Any]) -> Path | None:
        """The path of the content of a line of `files.jsonl`; None without content, or for a path outside `files/`."""
        name = file.get("path")
        path = (self.root / str(name)).resolve() if name else None
        inside = path is not None and path.is_relative_to((self.root / "files").resolve())
        return path if path and inside and path.is_file() else None

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()
