"""A recording, or a folder of JSONL files, into a data folder: files and jobs keep their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.migrate.folder import RecordingFolder, read_json, sha256
from luthier.store import Store
from luthier.types.errors import LuthierError
from luthier.types.job_options import IMPORTED_FROM

_MAX_VALUE = 512  # characters of a metadata value


@dataclass
class ImportResult:
    """Ids by outcome; `missing`: files of jobs that are not in the folder."""

    source: str
    files: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "imported_from": self.source,
            "files": self.files,
            "jobs": self.jobs,
            "already_present": self.present,
            "missing_files": self.missing,
            "damaged_files": self.damaged,
        }


def import_folder(root: Path, store: Store) -> ImportResult:
    """Imports what is not there yet.

    Raises:
        LuthierError: the folder has neither a recording nor JSONL files.
    """
    if (root / "manifest.json").is_file():
        return _import_recording(RecordingFolder(root), store)
    paths = sorted(root.glob("*.jsonl"))
    if not paths:
        raise LuthierError(
            say(
                f"{root} has neither a manifest.json nor JSONL files. Give the folder of `luthier migrate record`, or "
                "one with your training files.",
                f"{root} 里既没有 manifest.json，也没有 JSONL 文件。请给出 `luthier migrate record` 的文件夹，"
                "或存放训练文件的文件夹。",
            )
        )
    return _import_files(root, paths, store)


def _import_recording(folder: RecordingFolder, store: Store) -> ImportResult:
    manifest = read_json(folder.root / "manifest.json")
    result = ImportResult(str(manifest.get("base_url") or folder.root))
    for file in _by_time(folder.lines("files").entries):
        path = _content(folder.root, file)
        if path is None:
            result.missing.append(str(file["id"]))
        elif file.get("sha256") and sha256(path) != file["sha256"]:
            result.damaged.append(str(file["id"]))
        else:
            added = store.imports().add_file(file, path, result.source)
            (result.files if added else result.present).append(str(file["id"]))
    for job in _by_time(folder.lines("jobs").entries):
        job_id = str(job["id"])
        events, checkpoints = (folder.of_job(kind, job_id).entries.values() for kind in ("events", "checkpoints"))
        metadata = {**(job.get("metadata") or {}), IMPORTED_FROM: result.source[:_MAX_VALUE]}
        added = store.imports().add_job(job, list(events), list(checkpoints), metadata)
        (result.jobs if added else result.present).append(job_id)
    return result


def _import_files(root: Path, paths: list[Path], store: Store) -> ImportResult:
    """Ids are derived from the content and the name: the same file has the same id in every run."""
    result = ImportResult(root.resolve().as_uri())
    for path in paths:
        digest = hashlib.sha256(path.name.encode() + b"\0" + sha256(path).encode()).hexdigest()[:24]
        file = {"id": f"file-{digest}", "filename": path.name, "purpose": "fine-tune"}
        added = store.imports().add_file(file, path, result.source)
        (result.files if added else result.present).append(file["id"])
    return result


def _by_time(entries: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from sorted(entries.values(), key=lambda entry: entry.get("created_at") or 0)


def _content(root: Path, file: dict[str, Any]) -> Path | None:
    """The recorded content; a path that leaves `files/` is not one that a recording has."""
    name = file.get("path")
    path = (root / str(name)).resolve() if name else None
    inside = path is not None and path.is_relative_to((root / "files").resolve())
    return path if path and inside and path.is_file() else None
