"""`luthier migrate record`: a whole account into one folder, free parts first, then the answers of its old models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.generate.budget import Price
from luthier.generate.journal import Journal
from luthier.migrate.account import Account, Gap
from luthier.migrate.answers import AnswerOptions, AnswerRecorder, ModelAnswers
from luthier.migrate.collector import Collector
from luthier.migrate.downloads import FileRecorder
from luthier.migrate.folder import RecordingFolder, write_json, write_text
from luthier.migrate.inventory import FileEntry, Inventory, ModelEntry
from luthier.migrate.prices import inference_price
from luthier.migrate.questions import (
    Definitions,
    Question,
    questions_of,
    read_prompts,
    read_questions,
    stored_row,
    unique,
)
from luthier.migrate.readme import README
from luthier.migrate.survey import Survey

FORMAT_VERSION = 1
_PURPOSES = {"fine-tune", "fine-tune-results", "batch", "batch_output", "evals"}
Progress = Callable[..., None]  # (part, done, total), and the dollars spent for the part `answers`


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record. `models`: none for all; `deployments`: names under which models answer, as on Azure."""

    models: tuple[str, ...] = ()
    deployments: Mapping[str, str] = field(default_factory=dict)
    prompts: Path | None = None
    stored: bool = False
    definitions: tuple[Definitions, ...] = ("full", "none")
    limit: int | None = 200
    all_files: bool = False
    price: Price | None = None
    answers: AnswerOptions = field(default_factory=AnswerOptions)


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The questions for one model that have no answer yet, with their cost in US dollars (None: price unknown)."""

    model: ModelEntry
    price: Price | None
    questions: tuple[Question, ...]
    pending: tuple[Question, ...]
    max_tokens: int

    @property
    def max_cost(self) -> float | None:
        """If every answer reaches its token limit and every byte is a token."""
        if self.price is None:
            return None if self.pending else 0.0
        return sum(self.price.cost(question.max_prompt_tokens, self.max_tokens) for question in self.pending)

    @property
    def typical_cost(self) -> float | None:
        if self.price is None:
            return None if self.pending else 0.0
        return sum(self.price.cost(*question.typical_tokens) for question in self.pending)

    def to_dict(self) -> dict[str, Any]:
        sources = sorted({question.source for question in self.questions})
        return {
            "model": self.model.id,
            "questions": len(self.questions),
            "pending": len(self.pending),
            "sources": sources,
            "typical_usd": self.typical_cost,
            "max_usd": self.max_cost,
        }


@dataclass
class Recording:
    """The result of a run: what the folder holds, what is missing and why."""

    inventory: Inventory
    folder: Path
    gaps: list[Gap] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    vision_jobs: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    answers: list[ModelAnswers] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    spent_usd: float = 0.0
    without_answers: str | None = None  # why no question was sent at all

    @property
    def failed_files(self) -> list[dict[str, Any]]:
        """Files that could not be downloaded although they exist."""
        return [file for file in self.files if file.get("error") and file["error"].get("status") != 404]

    @property
    def deleted_files(self) -> list[dict[str, Any]]:
        return [file for file in self.files if file.get("error") and file["error"].get("status") == 404]

    @property
    def is_complete(self) -> bool:
        missing = any(model.missing for model in self.answers)
        refused = any(not area.is_absent for area in self.gaps)
        return not (refused or self.failed_files or missing or self.without_answers)

    def to_dict(self) -> dict[str, Any]:
        recorded = [file for file in self.files if file.get("path")]
        return {
            "format_version": FORMAT_VERSION,
            "base_url": self.inventory.base_url,
            "provider": self.inventory.provider,
            "project": self.inventory.project,
            "updated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "complete": self.is_complete,
            "counts": {**self.counts, "files": len(recorded), "deleted_files": len(self.deleted_files)},
            "files": {
                str(file["id"]): {key: file.get(key) for key in ("path", "recorded_bytes", "sha256", "error")}
                for file in self.files
            },
            "vision_jobs": self.vision_jobs,
            "answers": [{**asdict(model), "missing": model.missing} for model in self.answers],
            "without_answers": self.without_answers,
            "requests": self.requests,
            "spent_usd": round(self.spent_usd, 6),
            "gaps": [asdict(area) for area in self.gaps],
        }


class Recorder:
    """One run of recording. Running it again resumes: what the folder has is neither downloaded nor paid for again."""

    def __init__(
        self, account: Account, folder: RecordingFolder, options: RecordOptions, *, progress: Progress = lambda *_: None
    ) -> None:
        self._account, self._folder, self._options, self._progress = account, folder, options, progress
        self._files = FileRecorder(account, folder, progress=lambda done, total: progress("files", done, total))

    async def collect(self, inventory: Inventory) -> Recording:
        """Everything that costs nothing."""
        self._folder.create()
        write_text(self._folder.root / "README.md", README)
        write_json(self._folder.root / "inventory.json", inventory.to_dict())
        collector = Collector(self._account, self._folder, progress=self._progress)
        await collector.collect(inventory)
        await self._files.record(self._selected_files(inventory), _file_metadata(inventory))
        recording = Recording(inventory, self._folder.root, [*inventory.gaps, *collector.gaps])
        recording.gaps = list({area.area: area for area in recording.gaps}.values())
        recording.files = list(self._files.lines.entries.values())
        recording.vision_jobs = [job.id for job in inventory.jobs if self._has_images(job.files["training"])]
        recording.counts = {
            name: len(self._folder.lines(name).entries) for name in ("jobs", "stored_completions", "batches")
        }
        return recording

    async def collect_questions(self, inventory: Inventory) -> None:
        """Only what `plans` needs."""
        jobs = [model.job for model in inventory.models if model.job]
        ids = [file_id for job in jobs for role in ("validation", "training") for file_id in job.files[role]]
        await self._files.record([inventory.files[file_id] for file_id in dict.fromkeys(ids)], {})
        if self._options.stored:
            await Collector(self._account, self._folder, progress=self._progress).collect_stored_completions()

    def plans(self, inventory: Inventory) -> list[ModelPlan]:
        """The questions for each model, the most urgent model first."""
        options = self._options
        models = [model for model in inventory.models if not options.models or model.id in options.models]
        known = {model.id for model in models}
        models += [_unknown_model(name) for name in options.models if name not in known]
        return [self._plan(model) for model in models]

    async def record_answers(self, plans: Sequence[ModelPlan], journal: Journal, recording: Recording) -> None:
        """Puts the questions to the models and fills in `recording`."""
        prices = {plan.model.id: plan.price for plan in plans}
        total = sum(len(plan.pending) for plan in plans)
        recorder = AnswerRecorder(
            self._account,
            journal,
            prices,
            self._options.answers,
            progress=lambda answers, dollars: self._progress("answers", answers, total, dollars),
        )
        for plan in plans:
            name = self._options.deployments.get(plan.model.id, plan.model.id)
            lines = self._folder.answers(plan.model.id)
            recording.answers.append(await recorder.record(plan.model.id, name, plan.questions, lines))
            recording.requests, recording.spent_usd = dict(recorder.counts), recorder.budget.spent
            write_manifest(recording)
        outcomes = [record.outcome for record in journal.records()]
        recording.requests["lost_in_all_runs"] = outcomes.count("lost")

    def _plan(self, model: ModelEntry) -> ModelPlan:
        questions = self._questions(model)
        entries = self._folder.answers(model.id).entries
        pending = tuple(question for question in questions if not entries.get(question.id, {}).get("response"))
        price = self._options.price or inference_price(model)
        return ModelPlan(model, price, tuple(questions), pending, self._options.answers.max_tokens)

    def _questions(self, model: ModelEntry) -> list[Question]:
        """Of the job's validation file, else its training file; of `--prompts`; of the model's stored completions."""
        options = self._options
        questions: list[Question] = []
        for role in ("validation", "training") if model.job else ():
            paths = [self._files.path(file_id) for file_id in model.job.files[role]] if model.job else []
            for path in filter(None, paths):
                source = "validation" if role == "validation" else "training"
                questions += read_questions(path, source, options.limit, options.definitions)  # type: ignore[arg-type]
            if questions:
                break
        if options.prompts:
            questions += read_prompts(options.prompts, options.limit, options.definitions)
        if options.stored:
            completions = self._folder.lines("stored_completions").entries.values()
            rows = [stored_row(completion) for completion in completions if completion.get("model") == model.id]
            questions += questions_of(rows, "stored_completions", options.limit, options.definitions)
        return unique(questions)

    def _selected_files(self, inventory: Inventory) -> Iterable[FileEntry]:
        """Files of jobs and batches, and others by their purpose."""
        referred = {file.id for job in inventory.jobs for _, file in inventory.job_files(job)}
        for batch in inventory.batches:
            referred |= {str(batch.get(key)) for key in ("input_file_id", "output_file_id", "error_file_id")}
        for file in inventory.files.values():
            if self._options.all_files or file.id in referred or file.purpose in _PURPOSES:
                yield file

    def _has_images(self, file_ids: Iterable[str]) -> bool:
        for path in filter(None, map(self._files.path, file_ids)):
            with path.open("rb") as lines:
                if any(b'"image_url"' in line for line in lines):
                    return True
        return False


async def take_inventory(account: Account, project: str | None, progress: Progress) -> Inventory:
    survey = Survey(account, progress=lambda area, count: progress(area, count, 0))
    return await survey.inventory(datetime.now(UTC).date(), project)


async def dry_run(account: Account, folder: RecordingFolder, options: RecordOptions, project: str | None,
                  progress: Progress) -> tuple[Inventory, list[ModelPlan]]:  # fmt: skip
    """The plans, without a recording: files with questions are read into a temporary folder."""
    inventory = await take_inventory(account, project, progress)
    with tempfile.TemporaryDirectory() as temporary:
        recorder = Recorder(account, RecordingFolder(Path(temporary)), options, progress=progress)
        (Path(temporary) / "files").mkdir()
        await recorder.collect_questions(inventory)
        plans = recorder.plans(inventory)
    return inventory, [_without_answered(plan, folder) for plan in plans]


def _without_answered(plan: ModelPlan, folder: RecordingFolder) -> ModelPlan:
    entries = folder.answers(plan.model.id).entries
    pending = tuple(question for question in plan.questions if not entries.get(question.id, {}).get("response"))
    return replace(plan, pending=pending)


def write_manifest(recording: Recording) -> None:
    write_json(recording.folder / "manifest.json", recording.to_dict())


def _file_metadata(inventory: Inventory) -> dict[str, dict[str, Any]]:
    return {file.id: {key: value for key, value in asdict(file).items() if value is not None}
            for file in inventory.files.values()}  # fmt: skip


def _unknown_model(name: str) -> ModelEntry:
    """A model of `--model` that the inventory lacks: it is asked all the same, with --prompts."""
    from luthier.migrate.shutdown import base_of

    return ModelEntry(name, base_of(name), listed=False, shutdown=None)
