"""`luthier migrate record`: records an account in a folder, first what is free, then the answers of its models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.generate.budget import Price
from luthier.generate.journal import Journal
from luthier.migrate.account import Account
from luthier.migrate.answers import AnswerOptions, AnswerRecorder
from luthier.migrate.collector import Collector
from luthier.migrate.downloads import FileRecorder
from luthier.migrate.folder import RecordingFolder, write_json, write_text
from luthier.migrate.inventory import FileEntry, Inventory, JobEntry, ModelEntry
from luthier.migrate.prices import inference_price
from luthier.migrate.questions import (
    Definitions,
    Question,
    Source,
    endpoint_of,
    questions_of,
    read_examples,
    read_prompts,
    stored_example,
    unique,
)
from luthier.migrate.readme import README
from luthier.migrate.recording import Recording, check_same_account, earlier_answers
from luthier.migrate.survey import Survey
from luthier.migrate.untrainable import has_images

_PURPOSES = {"fine-tune", "fine-tune-results", "batch", "batch_output", "evals"}
Progress = Callable[..., None]  # called with part, done and total; for the part `answers` also with the US dollars


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record.

    Attributes:
        models: The models whose answers are recorded; empty for all.
        deployments: Model → its name in requests, for services such as Azure.
        prompts: A file of additional prompts for every model.
        stored: Whether to send the inputs of stored completions again.
        definitions: Whether examples with functions are sent with definitions, without, or both.
        limit: Examples per model and source; None for all.
        all_files: Whether to download files of other purposes too.
        price: The price of every model; None for the published prices.
    """

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
    """The questions for a model, those of them without an answer, and their cost in US dollars.

    Costs are None if the price is unknown.
    """

    model: ModelEntry
    price: Price | None
    questions: tuple[Question, ...]
    pending: tuple[Question, ...]
    max_tokens: int

    @property
    def max_cost(self) -> float | None:
        """The cost if every answer reaches its token limit and every byte of a prompt is a token."""
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


class Recorder:
    """One run of recording. Objects that are in the folder already are neither downloaded nor paid for again."""

    def __init__(
        self, account: Account, folder: RecordingFolder, options: RecordOptions, *, progress: Progress = lambda *_: None
    ) -> None:
        self._account, self._folder, self._options, self._progress = account, folder, options, progress
        self._files = FileRecorder(account, folder, progress=lambda done, total: progress("files", done, total))

    async def collect(self, inventory: Inventory) -> Recording:
        """Records everything that is free. Raises LuthierError for the folder of another account or project."""
        check_same_account(self._folder, inventory)
        self._folder.create()
        write_text(self._folder.root / "README.md", README)
        write_json(self._folder.inventory, inventory.to_dict())
        collector = Collector(self._account, self._folder, progress=self._progress)
        await collector.collect(inventory)
        await self._files.record(self._selected_files(inventory), _file_metadata(inventory))
        recording = Recording(inventory, self._folder, [*inventory.gaps, *collector.gaps])
        recording.earlier = earlier_answers(self._folder)
        recording.gaps = list({area.area: area for area in recording.gaps}.values())
        recording.files = list(self._files.lines.entries.values())
        for job in inventory.jobs:
            if any(has_images(path) for path in filter(None, map(self._files.path, job.files["training"]))):
                recording.vision_jobs.append(job.id)
        recording.counts = {
            name: len(self._folder.lines(name).entries) for name in ("jobs", "stored_completions", "batches")
        }
        return recording

    async def collect_questions(self, inventory: Inventory) -> None:
        """Records only the files and stored completions that `plans` needs."""
        jobs = [model.job for model in inventory.models if model.job]
        ids = [file_id for job in jobs for role in ("validation", "training") for file_id in job.files[role]]
        await self._files.record([inventory.files[file_id] for file_id in dict.fromkeys(ids)], {})
        if self._options.stored:
            await Collector(self._account, self._folder, progress=self._progress).collect_stored_completions()

    def plans(self, inventory: Inventory) -> list[ModelPlan]:
        """The questions for each model, the most urgent model first."""
        options = self._options
        models = [model for model in inventory.models if not options.models or model.id in options.models]
        listed_ids = {model.id for model in models}
        models += [_unknown_model(name) for name in options.models if name not in listed_ids]
        return [self._plan(model) for model in models]

    async def record_answers(self, plans: Sequence[ModelPlan], journal: Journal, recording: Recording) -> None:
        """Sends the pending questions to the models, and adds the counts and the cost to `recording`."""
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
            recording.write_manifest()
        outcomes = [record.outcome for record in journal.records()]
        recording.requests["lost_in_all_runs"] = outcomes.count("lost")

    def _plan(self, model: ModelEntry) -> ModelPlan:
        questions = self._questions(model)
        entries = self._folder.answers(model.id).entries
        pending = tuple(question for question in questions if not entries.get(question.id, {}).get("response"))
        price = self._options.price or inference_price(model)
        return ModelPlan(model, price, tuple(questions), pending, self._options.answers.max_tokens)

    def _questions(self, model: ModelEntry) -> list[Question]:
        """The questions for a model.

        They come from the job's validation file, else from its training file, and from `--prompts` and `--stored`.
        """
        options, endpoint = self._options, endpoint_of(model.base)

        def of(examples: list[dict[str, Any]], source: Source) -> list[Question]:
            return questions_of(examples, source, options.limit, options.definitions, endpoint)

        questions = of(self._examples(model.job, "validation"), "validation")
        questions = questions or of(self._examples(model.job, "training"), "training")
        if options.prompts:
            questions += of(read_prompts(options.prompts), "prompts")
        if options.stored:
            completions = self._folder.lines("stored_completions").entries.values()
            examples = [stored_example(completion) for completion in completions if completion.get("model") == model.id]
            questions += of(examples, "stored_completions")
        return unique(questions)

    def _examples(self, job: JobEntry | None, role: Source) -> list[dict[str, Any]]:
        paths = [self._files.path(file_id) for file_id in job.files[role]] if job else []
        return [example for path in filter(None, paths) for example in read_examples(path, role)]

    def _selected_files(self, inventory: Inventory) -> Iterable[FileEntry]:
        """The files of jobs and batches, and other files by their purpose."""
        referred = {file.id for job in inventory.jobs for _, file in inventory.job_files(job)}
        for batch in inventory.batches:
            referred |= {str(batch.get(key)) for key in ("input_file_id", "output_file_id", "error_file_id")}
        for file in inventory.files.values():
            if self._options.all_files or file.id in referred or file.purpose in _PURPOSES:
                yield file


async def take_inventory(account: Account, project: str | None, progress: Progress) -> Inventory:
    survey = Survey(account, progress=lambda area, count: progress(area, count, 0))
    return await survey.inventory(datetime.now(UTC).date(), project)


async def dry_run(account: Account, folder: RecordingFolder, options: RecordOptions, project: str | None,
                  progress: Progress) -> tuple[Inventory, list[ModelPlan]]:  # fmt: skip
    """The inventory and the plans without recording anything: files with questions go to a temporary folder."""
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


def _file_metadata(inventory: Inventory) -> dict[str, dict[str, Any]]:
    return {file.id: {key: value for key, value in asdict(file).items() if value is not None}
            for file in inventory.files.values()}  # fmt: skip


def _unknown_model(name: str) -> ModelEntry:
    """The entry of a `--model` that the inventory does not have; it can be asked with --prompts."""
    from luthier.migrate.shutdown import base_of

    return ModelEntry(name, base_of(name), listed=False, shutdown=None)
