"""Reads an account into an `Inventory`. A part that the key cannot read becomes a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import openai

from luthier.generate.retries import error_message
from luthier.migrate.account import Account, Gap, gap, to_json
from luthier.migrate.inventory import FileEntry, Inventory, JobEntry, ModelEntry, StoredCompletions
from luthier.migrate.shutdown import (
    Shutdown,
    account_date,
    base_of,
    is_checkpoint,
    is_fine_tuned,
    published_date,
)

MAX_COUNTED_COMPLETIONS = 2000
_PARTS = 5  # models, jobs, files, stored completions, batches
_LOCAL_OWNER = "luthier"

Progress = Callable[[str, int], None]


class Survey:
    """Reads an account once; `progress` is called with the part and the number of objects read so far."""

    def __init__(self, account: Account, *, progress: Progress = lambda area, count: None) -> None:
        self.account, self.client, self._progress = account, account.client, progress
        self.gaps: list[Gap] = []
        self._errors: list[openai.APIError] = []

    async def inventory(self, today: date, project: str | None = None) -> Inventory:
        """The inventory of the account. Raises openai.APIError if no part of it can be read."""
        models, jobs, files, stored, batches = await asyncio.gather(
            self.list_part("models", self._models()),
            self.list_part("jobs", self._pages("jobs", self.client.fine_tuning.jobs.list)),
            self.list_part("files", self._pages("files", self.client.files.list)),
            self._stored(),
            self.list_part("batches", self._pages("batches", self.client.batches.list)),
        )
        if len(self._errors) == _PARTS:
            raise self._errors[0]
        entries = await asyncio.gather(*(self._job(job) for job in jobs or []))
        listed_models = {str(model.get("id")): model for model in models} if models is not None else None
        return Inventory(
            base_url=self.account.base_url,
            provider=self.account.provider,
            project=project,
            today=today,
            models=self._model_entries(listed_models, entries),
            jobs=tuple(entries),
            files=await self._files(files, entries, batches or []),
            stored=stored,
            batches=tuple(batches or []),
            gaps=tuple(self.gaps),
        )

    async def list_part(self, area: str, part: Any) -> list[dict[str, Any]] | None:
        """The objects of one part. If the service refuses it, records a gap and returns None."""
        try:
            entries: list[dict[str, Any]] = await part
        except openai.AuthenticationError as error:
            if not _is_missing_scope(error):
                raise
            self._refuse(area, error)
            return None
        except openai.APIConnectionError:
            raise
        except openai.APIError as error:
            self._refuse(area, error)
            return None
        return entries

    def _refuse(self, area: str, error: openai.APIError) -> None:
        self.gaps.append(gap(area, error))
        self._errors.append(error)

    async def _models(self) -> list[dict[str, Any]]:
        page = await self.account.call(self.client.models.list)
        return [to_json(model) for model in page.data]

    async def _pages(self, area: str, list_page: Any) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        async for page in self.account.pages(list_page):
            entries.extend(page)
            self._progress(area, len(entries))
        return entries

    async def _stored(self) -> StoredCompletions:
        entries: list[dict[str, Any]] = []

        async def count() -> list[dict[str, Any]]:
            async for page in self.account.pages(self.client.chat.completions.list, order="asc"):
                entries.extend(page)
                self._progress("stored_completions", len(entries))
                if len(entries) >= MAX_COUNTED_COMPLETIONS:
                    break
            return entries

        await self.list_part("stored_completions", count())
        created = [entry["created"] for entry in entries if isinstance(entry.get("created"), int)]
        complete = len(entries) < MAX_COUNTED_COMPLETIONS
        return StoredCompletions(len(entries), complete, min(created, default=None))

    async def _job(self, job: dict[str, Any]) -> JobEntry:
        if not job.get("fine_tuned_model"):
            return JobEntry(job)
        checkpoints = self.client.fine_tuning.jobs.checkpoints
        part = self.account.list_all(lambda **query: checkpoints.list(str(job["id"]), **query))
        entries = await self.list_part(f"checkpoints of {job['id']}", part) or []
        return JobEntry(job, tuple(str(entry.get("fine_tuned_model_checkpoint")) for entry in entries))

    def _model_entries(
        self, listed: Mapping[str, dict[str, Any]] | None, jobs: Iterable[JobEntry]
    ) -> tuple[ModelEntry, ...]:
        by_model = {job.model: job for job in jobs if job.model}
        checkpoints = {name for job in by_model.values() for name in job.checkpoints}
        names = dict.fromkeys([*by_model, *(name for name in listed or {} if is_fine_tuned(name))])
        entries = [
            self._model_entry(name, by_model.get(name), listed)
            for name in names
            if name in by_model or not (is_checkpoint(name) or name in checkpoints)
        ]
        last = date.max
        return tuple(sorted(entries, key=lambda entry: (entry.shutdown.date if entry.shutdown else last, entry.id)))

    def _model_entry(self, name: str, job: JobEntry | None, listed: Mapping[str, dict[str, Any]] | None) -> ModelEntry:
        base = base_of(name) or (base_of(str(job.job.get("model"))) or str(job.job.get("model")) if job else None)
        model = (listed or {}).get(name)
        local = model is not None and model.get("owned_by") == _LOCAL_OWNER
        dates = [account_date((listed or {}).get(key or "", {}).get("shutdown_date")) for key in (name, base)]
        shutdown: Shutdown | None = next((entry for entry in dates if entry), None)
        if shutdown is None and base and not local:
            shutdown = published_date(base, self.account.provider)
        return ModelEntry(name, base, None if listed is None else model is not None, shutdown, local, job)

    async def _files(
        self, listed: list[dict[str, Any]] | None, jobs: Iterable[JobEntry], batches: list[dict[str, Any]]
    ) -> dict[str, FileEntry]:
        """The listed files, and those that jobs and batches refer to but that are not listed."""
        files = {str(file["id"]): _file_entry(file) for file in listed or []}
        ids = [file_id for job in jobs for role in job.files.values() for file_id in role]
        batch_keys = ("input_file_id", "output_file_id", "error_file_id")
        ids += [str(batch[key]) for batch in batches for key in batch_keys if batch.get(key)]
        missing = [file_id for file_id in dict.fromkeys(ids) if file_id not in files]
        entries = await asyncio.gather(*(self._unlisted_file(file_id) for file_id in missing))
        return files | {entry.id: entry for entry in entries}

    async def _unlisted_file(self, file_id: str) -> FileEntry:
        try:
            return _file_entry(to_json(await self.account.call(lambda: self.client.files.retrieve(file_id))))
        except openai.NotFoundError as error:
            return FileEntry(file_id, "deleted", error=error_message(error))
        except openai.APIStatusError as error:
            return FileEntry(file_id, "unknown", error=error_message(error))


def _file_entry(file: Mapping[str, Any]) -> FileEntry:
    return FileEntry(
        id=str(file["id"]),
        state="available",
        purpose=str(file.get("purpose") or ""),
        filename=str(file.get("filename") or ""),
        bytes=file.get("bytes"),
        created_at=file.get("created_at"),
        expires_at=file.get("expires_at"),
    )


def _is_missing_scope(error: openai.AuthenticationError) -> bool:
    """Whether a restricted key lacks a permission. OpenAI answers 401 then, with these words in the message; for a
    wrong key, the code is `invalid_api_key`.
    """
    return "insufficient permissions" in error_message(error).lower() or "scope" in error_message(error).lower()
