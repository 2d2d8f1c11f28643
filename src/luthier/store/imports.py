"""Files and jobs of another service under their own ids, which keep working here; each is marked with its origin."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, select, update

from luthier.store.blobs import FILES, Blobs
from luthier.store.checksums import record_checksum
from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, checkpoints, events, files, jobs, metadata
from luthier.store.project_scope import Scoped
from luthier.types.common import now
from luthier.types.fine_tuning import FINAL
from luthier.types.ids import new_id

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # the name of a blob, hence no dots and slashes
_LEVELS = ("info", "warn", "error")
_METRICS_EVENT = "metrics"

imported_files = Table(
    "imported_files",
    metadata,
    Column("id", short_text(64), primary_key=True),
    Column("source", LongText, nullable=False),  # address of the service
    Column("imported_at", Int64, nullable=False),
)


def can_be_id(text: str) -> bool:
    """Whether an id of another service can be one here."""
    return bool(_ID.fullmatch(text))


class Imports(Scoped):
    """Both methods are idempotent: they return False for an existing id, and for one that cannot be an id here."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs

    def add_file(self, file: Mapping[str, Any], content: Path, source: str, *, replace: bool = False) -> bool:
        """Add a file with its original id, name, purpose and creation time; it does not expire. `replace`: an earlier
        import of it gets the new content.
        """
        file_id = str(file["id"])
        if not can_be_id(file_id):
            return False
        if self._exists(files, file_id):
            if replace:
                self._replace_content(file_id, content)
            return False
        with content.open("rb") as original:
            written = self._blobs.write(file_id, lambda out: shutil.copyfileobj(original, out))
        row = {
            "id": file_id,
            "filename": str(file.get("filename") or content.name),
            "purpose": str(file.get("purpose") or "fine-tune")[:32],
            "bytes": written.bytes,
            "created_at": _integer(file.get("created_at"), now()),
            "expires_at": None,
            "project": self._new_row_project,
        }
        with self._database.write() as connection:
            connection.execute(insert(files).values(**row))
            record_checksum(connection, f"{FILES}/{file_id}", written)
            connection.execute(insert(imported_files).values(id=file_id, source=source, imported_at=now()))
        return True

    def add_job(
        self,
        job: Mapping[str, Any],
        job_events: Sequence[Mapping[str, Any]],
        job_checkpoints: Sequence[Mapping[str, Any]],
        job_metadata: Mapping[str, str],
    ) -> bool:
        """Add a finished job with its events and checkpoints. A job that had not finished there is marked as
        cancelled."""
        job_id = str(job["id"])
        if not can_be_id(job_id) or self._exists(jobs, job_id):
            return False
        row = _job_row(job) | {"id": job_id, "metadata": dict(job_metadata), "project": self._new_row_project}
        with self._database.write() as connection:
            connection.execute(insert(jobs).values(**row))
            _insert_events(connection, job_id, job_events)
            _insert_checkpoints(connection, job_id, job_checkpoints)
        return True

    def _replace_content(self, file_id: str, content: Path) -> None:
        with content.open("rb") as original:
            written = self._blobs.write(file_id, lambda out: shutil.copyfileobj(original, out))
        imported = select(imported_files.c.id)
        with self._database.write() as connection:
            this = (files.c.id == file_id) & files.c.id.in_(imported)
            connection.execute(update(files).where(this).values(bytes=written.bytes))
            record_checksum(connection, f"{FILES}/{file_id}", written)

    def _exists(self, table: Table, row_id: str) -> bool:
        with self._database.read() as connection:
            return connection.scalar(select(table.c.seq).where(table.c.id == row_id)) is not None


def _job_row(job: Mapping[str, Any]) -> dict[str, Any]:
    status, error, model = job.get("status"), job.get("error"), str(job.get("model") or "unknown")
    integrations = [entry for entry in job.get("integrations") or [] if isinstance(entry.get("wandb"), dict)]
    return {
        "status": status if status in FINAL else "cancelled",
        "model": model,
        "base": model,
        "parent": None,
        "training_file": str(job.get("training_file") or ""),
        "validation_file": job.get("validation_file"),
        "suffix": job.get("user_provided_suffix"),
        "seed": _integer(job.get("seed"), 0),
        "method": _method(job),
        "integrations": integrations,
        "created_at": _integer(job.get("created_at"), now()),
        "finished_at": job.get("finished_at"),
        "fine_tuned_model": job.get("fine_tuned_model"),
        "trained_tokens": job.get("trained_tokens"),
        "result_files": [str(file_id) for file_id in job.get("result_files") or []],
        "error": error if isinstance(error, dict) and error.get("code") and error.get("message") else None,
    }


def _method(job: Mapping[str, Any]) -> dict[str, Any]:
    """The method with the job's hyperparameters in its block; older jobs have them outside it."""
    method = job.get("method") if isinstance(job.get("method"), dict) else None
    method_type = str((method or {}).get("type") or "supervised")
    block = (method or {}).get(method_type) or {}
    hyperparameters = {**(job.get("hyperparameters") or {}), **(block.get("hyperparameters") or {})}
    return {**(method or {}), "type": method_type, method_type: {**block, "hyperparameters": hyperparameters}}


def _insert_events(connection: Connection, job_id: str, job_events: Sequence[Mapping[str, Any]]) -> None:
    steps: set[int] = set()
    for event in sorted(reversed(job_events), key=lambda event: _integer(event.get("created_at"), 0)):
        data = event.get("data") if isinstance(event.get("data"), dict) else None
        is_metrics = event.get("type") == _METRICS_EVENT
        step = (data or {}).get("step") if is_metrics else None
        fresh = isinstance(step, int) and step not in steps
        if isinstance(step, int) and fresh:
            steps.add(step)
        row = {
            "id": _unused_id(connection, events, event.get("id"), "ftevent-"),
            "job_id": job_id,
            "created_at": _integer(event.get("created_at"), 0),
            "level": event["level"] if event.get("level") in _LEVELS else "info",
            "type": _METRICS_EVENT if is_metrics else "message",
            "message": str(event.get("message") or ""),
            "data": data,
            "step": step if fresh else None,
        }
        connection.execute(insert(events).values(**row))


def _insert_checkpoints(connection: Connection, job_id: str, job_checkpoints: Sequence[Mapping[str, Any]]) -> None:
    by_step = {_integer(entry.get("step_number"), 0): entry for entry in job_checkpoints}
    for step, entry in sorted(by_step.items()):
        row = {
            "id": _unused_id(connection, checkpoints, entry.get("id"), "ftckpt_"),
            "job_id": job_id,
            "model": str(entry.get("fine_tuned_model_checkpoint") or ""),
            "step": step,
            "metrics": entry.get("metrics") or {},
            "created_at": _integer(entry.get("created_at"), 0),
        }
        connection.execute(insert(checkpoints).values(**row))


def _unused_id(connection: Connection, table: Table, row_id: object, prefix: str) -> str:
    """The row's own id if it is valid and unused here, otherwise a new one."""
    usable = isinstance(row_id, str) and _ID.fullmatch(row_id)
    if not usable or connection.scalar(select(table.c.seq).where(table.c.id == row_id)) is not None:
        return new_id(prefix)
    return str(row_id)


def _integer(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
