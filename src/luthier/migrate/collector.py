"""Records the jobs, events, checkpoints, stored completions and batches of an account as JSON lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai

from luthier.migrate.account import Account, Gap, gap
from luthier.migrate.folder import RecordingFolder
from luthier.migrate.inventory import Inventory, JobEntry

_FINAL = {"succeeded", "failed", "cancelled"}
Progress = Callable[[str, int, int], None]


class Collector:
    """Records everything that can be read for free. A part that the service refuses becomes a gap."""

    def __init__(self, account: Account, folder: RecordingFolder, *, progress: Progress = lambda *_: None) -> None:
        self._account, self._client, self._folder = account, account.client, folder
        self._progress = progress
        self.gaps: list[Gap] = []

    async def collect(self, inventory: Inventory) -> None:
        """Records the jobs, batches and stored completions, and the events and checkpoints of each job."""
        self._folder.lines("jobs").merge(job.job for job in inventory.jobs)
        self._folder.lines("batches").merge(inventory.batches)
        await self.collect_stored_completions()  # they expire first
        jobs = list(inventory.jobs)
        for start in range(0, len(jobs), 16):
            await asyncio.gather(*(self._job(job) for job in jobs[start : start + 16]))
            self._progress("jobs", min(start + 16, len(jobs)), len(jobs))

    async def _job(self, job: JobEntry) -> None:
        jobs = self._client.fine_tuning.jobs
        await self._of_job("events", job, jobs.list_events)
        if job.model:
            await self._of_job("checkpoints", job, jobs.checkpoints.list)

    async def _of_job(self, kind: str, job: JobEntry, list_page: Callable[..., Awaitable[Any]]) -> None:
        """Records the events or checkpoints of a job, unless they are recorded already and the job has ended."""
        lines = self._folder.of_job(kind, job.id)
        if lines.entries and job.job.get("status") in _FINAL:
            return
        try:
            lines.merge(await self._account.list_all(lambda **query: list_page(job.id, **query)))
        except openai.APIStatusError as error:
            self.gaps.append(gap(f"{kind} of {job.id}", error))

    async def collect_stored_completions(self) -> None:
        """Records the stored completions, each with its `messages`, which a list does not contain."""
        lines = self._folder.lines("stored_completions")
        try:
            async for page in self._account.pages(self._client.chat.completions.list, order="asc"):
                added = [completion for completion in page if str(completion.get("id")) not in lines.entries]
                lines.append(*await asyncio.gather(*(self._with_messages(completion) for completion in added)))
                self._progress("stored_completions", len(lines.entries), 0)
        except openai.APIStatusError as error:
            self.gaps.append(gap("stored_completions", error))

    async def _with_messages(self, completion: dict[str, Any]) -> dict[str, Any]:
        messages = self._client.chat.completions.messages
        completion_id = str(completion.get("id"))
        try:
            entries = await self._account.list_all(lambda **query: messages.list(completion_id, **query))
        except openai.APIStatusError as error:
            self.gaps.append(gap(f"messages of {completion_id}", error))
            return {**completion, "messages": None}
        return {**completion, "messages": entries}
