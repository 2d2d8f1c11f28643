"""Imports a recording into a data folder.

Files, jobs, batches and stored completions keep their ids; the answers of each old model become a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier.language import say
from luthier.migrate.folder import RecordingFolder, read_json, sha256
from luthier.migrate.import_result import ImportResult
from luthier.migrate.own_files import import_own_files
from luthier.migrate.untrainable import reason_untrainable
from luthier.store import Store
from luthier.store.imports import can_be_id
from luthier.types.batches import Batch
from luthier.types.errors import ConflictError
from luthier.types.job_options import IMPORTED_FROM
from luthier.types.stored import StoredCompletion, foreign_fields, stored_message

ANSWERS_PURPOSE = "evals"
_MAX_VALUE, _MAX_PAIRS = 512, 16  # OpenAI's limits of metadata: characters of a value, number of pairs


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """The server's limits for stored completions: how many days they are kept, and how many of them."""

    days: int
    completions: int


def import_folder(root: Path, store: Store, limits: ImportLimits) -> ImportResult:
    """Imports the objects of a folder that do not exist yet.

    Raises:
        LuthierError: The folder contains neither a recording nor JSONL files.
    """
    folder = RecordingFolder(root)
    if not folder.is_recording:
        return import_own_files(root, store)
    account = read_json(folder.manifest if folder.manifest.is_file() else folder.inventory)
    run = _Import(folder, store, ImportResult(str(account.get("base_url") or root)))
    run.files()
    run.answers()
    run.jobs({str(job_id) for job_id in account.get("vision_jobs") or []})
    run.batches()
    run.stored_completions(limits)
    return run.result


@dataclass(frozen=True)
class _Import:
    """The import of one recording; each method imports one kind of object and adds the ids to `result`."""

    folder: RecordingFolder
    store: Store
    result: ImportResult

    def files(self) -> None:
        for file_id, file in _by_time(self.folder.lines("files").entries):
            path = self.folder.content(file)
            if path is None:
                self.result.missing.append(file_id)
            elif file.get("sha256") and sha256(path) != file["sha256"]:
                self.result.damaged.append(file_id)
            elif self._may_keep(file_id):
                self._add(file_id, self.result.files, self.store.imports().add_file(file, path, self.result.source))

    def answers(self) -> None:
        """Imports each model's answers as a file, which replaces that of an earlier, shorter recording."""
        for path in sorted((self.folder.root / "answers").glob("*.jsonl")):
            model = next((str(line["model"]) for line in self.folder.answer_lines(path)), None)
            if model is None:
                continue
            digest = hashlib.sha256(f"answers\0{self.result.source}\0{model}".encode()).hexdigest()[:24]
            file = {"id": f"file-{digest}", "filename": f"answers-{path.name}", "purpose": ANSWERS_PURPOSE}
            self.store.imports().add_file(file, path, self.result.source, replace=True)
            self.result.answers[model] = file["id"]

    def jobs(self, vision_jobs: set[str]) -> None:
        for job_id, job in _by_time(self.folder.lines("jobs").entries):
            if not self._may_keep(job_id):
                continue
            events, checkpoints = (self.folder.of_job(kind, job_id).entries.values() for kind in _PARTS_OF_JOBS)
            metadata = {**(job.get("metadata") or {}), IMPORTED_FROM: self.result.source[:_MAX_VALUE]}
            added = self.store.imports().add_job(job, list(events), list(checkpoints), metadata)
            self._add(job_id, self.result.jobs, added)
            if reason := reason_untrainable(job, has_images=job_id in vision_jobs):
                self.result.untrainable[job_id] = reason

    def batches(self) -> None:
        for batch_id, batch in _by_time(self.folder.lines("batches").entries):
            if self._may_keep(batch_id):
                self._keep(batch_id, self.result.batches, partial(self._restore_batch, batch))

    def stored_completions(self, limits: ImportLimits) -> None:
        """Imports the newest stored completions that fit the limit, without deleting existing ones."""
        entries = dict(_by_time(self.folder.lines("stored_completions").entries))
        stored = self.store.stored_completions
        new_ids = [completion_id for completion_id in entries if not stored.exists(completion_id)]
        self.result.present += [completion_id for completion_id in entries if completion_id not in set(new_ids)]
        room = max(0, limits.completions - stored.count())
        for completion_id in new_ids[: max(0, len(new_ids) - room)]:
            self.result.refused[completion_id] = say(
                f"the setting stored_completions keeps at most {limits.completions}",
                f"设置 stored_completions 最多保存 {limits.completions} 个",
            )
        for completion_id in new_ids[max(0, len(new_ids) - room) :]:
            if self._may_keep(completion_id):
                add = partial(self._store_completion, entries[completion_id], limits)
                self._keep(completion_id, self.result.stored_completions, add)

    def _restore_batch(self, fields: dict[str, Any]) -> bool:
        """Adds a batch and returns whether it is new. Some services leave out the counts. Raises ValidationError."""
        return self.store.batches.restore(Batch(**fields | {"request_counts": fields.get("request_counts") or {}}))

    def _store_completion(self, fields: dict[str, Any], limits: ImportLimits) -> bool:
        """Adds a stored completion; returns False if another project has its id. Raises ValidationError."""
        pairs = {**(fields.get("metadata") or {}), IMPORTED_FROM: self.result.source[:_MAX_VALUE]}
        completion = StoredCompletion(**foreign_fields(fields) | {"metadata": dict(list(pairs.items())[-_MAX_PAIRS:])})
        sent = [message for message in fields.get("messages") or [] if isinstance(message, dict)]
        messages = [
            stored_message(str(message.get("id") or f"{completion.id}-{i}"), message) for i, message in enumerate(sent)
        ]
        try:
            self.store.stored_completions.create(completion, messages, days=limits.days, max_rows=limits.completions)
        except ConflictError:
            return False
        return True

    def _may_keep(self, object_id: str) -> bool:
        if can_be_id(object_id):
            return True
        self.result.refused[object_id] = say("an id cannot have this form here", "编号不能是这种形式")
        return False

    def _keep(self, object_id: str, imported: list[str], add: Callable[[], bool]) -> None:
        try:
            self._add(object_id, imported, add())
        except ValidationError as error:
            fields = ", ".join(dict.fromkeys(".".join(map(str, entry["loc"])) for entry in error.errors()[:5]))
            self.result.refused[object_id] = say(f"it cannot be stored: {fields}", f"无法保存：{fields}")
        except (AttributeError, KeyError, TypeError) as error:
            self.result.refused[object_id] = say(f"it does not have the form of the API's objects: {error}",
                                                 f"内容不是 API 返回的格式：{error}")  # fmt: skip

    def _add(self, object_id: str, imported: list[str], added: bool) -> None:
        (imported if added else self.result.present).append(object_id)


_PARTS_OF_JOBS = ("events", "checkpoints")


def _by_time(entries: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from sorted(entries.items(), key=lambda entry: entry[1].get("created_at") or entry[1].get("created") or 0)
