"""The inventory of an account: fine-tuned models with jobs, files and shutdown dates, and what will be lost first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from luthier.language import Language, say
from luthier.migrate.account import Gap, Provider
from luthier.migrate.shutdown import LAST_TRAINING_DAY, Shutdown

FORMAT_VERSION = 1
STORED_COMPLETION_DAYS = 30
MIN_MULTIPLIER = 1e-3  # anything smaller is taken for an absolute learning rate, which some services return instead
FileState = Literal["available", "deleted", "unknown"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the account, or a file that a job refers to and that no longer exists."""

    id: str
    state: FileState
    purpose: str = ""
    filename: str = ""
    bytes: int | None = None
    created_at: int | None = None
    expires_at: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class JobEntry:
    """A fine-tuning job; `job` is the object as the service sent it."""

    job: dict[str, Any]
    checkpoints: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return str(self.job.get("id"))

    @property
    def model(self) -> str | None:
        name = self.job.get("fine_tuned_model")
        return str(name) if name else None

    @property
    def method(self) -> str:
        method = self.job.get("method")
        return str(method.get("type") or "supervised") if isinstance(method, dict) else "supervised"

    @property
    def files(self) -> dict[str, list[str]]:
        """The job's file ids by role: training, validation, result."""
        roles = {"training": self.job.get("training_file"), "validation": self.job.get("validation_file")}
        ids = {role: [str(file_id)] if file_id else [] for role, file_id in roles.items()}
        return ids | {"result": [str(file_id) for file_id in self.job.get("result_files") or []]}

    @property
    def learning_rate_multiplier(self) -> float | None:
        """The multiplier in the job's hyperparameters; None if it is "auto" or missing."""
        method = self.job.get("method")
        block = method.get(self.method) if isinstance(method, dict) else None
        for parameters in ((block or {}).get("hyperparameters"), self.job.get("hyperparameters")):
            rate = parameters.get("learning_rate_multiplier") if isinstance(parameters, dict) else None
            if isinstance(rate, int | float):
                return float(rate)
        return None

    def warnings(self, language: Language | None = None) -> list[str]:
        """Sentences about hyperparameters that should not be reused."""
        rate = self.learning_rate_multiplier
        if rate is None or rate >= MIN_MULTIPLIER:
            return []
        return [
            say(
                f"learning_rate_multiplier {rate:g} looks like an absolute learning rate; leave it out when you "
                "retrain.",
                f"learning_rate_multiplier 为 {rate:g}，看起来是绝对学习率；重新训练时请不要带上它。",
                language,
            )
        ]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A fine-tuned model; `listed` says whether `GET /models` has it, None if that list could not be read."""

    id: str
    base: str | None
    listed: bool | None
    shutdown: Shutdown | None
    local: bool = False  # whether a Luthier server serves it, which switches nothing off
    job: JobEntry | None = None

    def days_left(self, today: date) -> int | None:
        return self.shutdown.days_left(today) if self.shutdown else None

    def is_off(self, today: date) -> bool:
        days = self.days_left(today)
        return days is not None and days < 0


@dataclass(frozen=True, slots=True)
class StoredCompletions:
    """The stored chat completions of an account; `complete` is False if only the oldest were counted."""

    count: int = 0
    complete: bool = True
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The contents of an account on one day; `gaps` are the parts that could not be read."""

    base_url: str
    provider: Provider
    project: str | None
    today: date
    models: tuple[ModelEntry, ...] = ()
    jobs: tuple[JobEntry, ...] = ()
    files: dict[str, FileEntry] = field(default_factory=dict)
    stored: StoredCompletions = field(default_factory=StoredCompletions)
    batches: tuple[dict[str, Any], ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def last_training_day(self) -> Shutdown | None:
        """The last day on which the service accepts jobs; None if the service has not published one."""
        return LAST_TRAINING_DAY.get(self.provider)

    def job_files(self, job: JobEntry | None) -> list[tuple[str, FileEntry]]:
        """The files of a job with their roles; empty without a job."""
        roles = job.files if job else {}
        return [
            (role, self.files.get(file_id, FileEntry(file_id, "unknown")))
            for role, ids in roles.items()
            for file_id in ids
        ]

    def to_dict(self) -> dict[str, Any]:
        """The document that `--json` prints and `inventory.json` contains."""
        training_day = self.last_training_day
        return {
            "format_version": FORMAT_VERSION,
            "base_url": self.base_url,
            "provider": self.provider,
            "project": self.project,
            "date": self.today.isoformat(),
            "last_training_day": training_day.date.isoformat() if training_day else None,
            "last_training_day_is_earliest": training_day.earliest if training_day else None,
            "losses": [loss.to_dict() for loss in losses(self, "en")],
            "models": [self._model(model) for model in self.models],
            "jobs": [self._job(job) for job in self.jobs],
            "files": [asdict(file) for file in self.files.values()],
            "stored_completions": asdict(self.stored),
            "batches": list(self.batches),
            "gaps": [asdict(area) for area in self.gaps],
        }

    def _model(self, model: ModelEntry) -> dict[str, Any]:
        shutdown = model.shutdown
        return {
            "id": model.id,
            "base": model.base,
            "listed": model.listed,
            "shutdown_date": shutdown.date.isoformat() if shutdown else None,
            "shutdown_date_source": shutdown.source if shutdown else None,
            "shutdown_date_is_earliest": shutdown.earliest if shutdown else None,
            "days_left": model.days_left(self.today),
            "job": model.job.id if model.job else None,
            "method": model.job.method if model.job else None,
            "checkpoints": list(model.job.checkpoints) if model.job else [],
            "files": [{"role": role, "id": file.id, "state": file.state} for role, file in self.job_files(model.job)],
        }

    def _job(self, job: JobEntry) -> dict[str, Any]:
        return {**job.job, "checkpoints": list(job.checkpoints), "warnings": job.warnings("en")}


@dataclass(frozen=True, slots=True)
class Loss:
    """Objects that will be lost if nothing is done; `last_day` is None if no date has been published."""

    kind: Literal["stored_completions", "answers", "batch_outputs", "files", "jobs"]
    count: int
    last_day: date | None
    days_left: int | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "last_day": self.last_day.isoformat() if self.last_day else None}


def losses(inventory: Inventory, language: Language | None = None) -> list[Loss]:
    """What will be lost if nothing is done, in the order in which to save it: by date, undated losses last."""
    entries = [
        *_stored_losses(inventory, language),
        *_batch_losses(inventory, language),
        *_answer_losses(inventory, language),
        *_file_losses(inventory, language),
    ]
    return sorted(entries, key=lambda loss: (loss.days_left is None, loss.days_left or 0))


def _stored_losses(inventory: Inventory, language: Language | None) -> Iterable[Loss]:
    stored = inventory.stored
    if not stored.count or any(model.local for model in inventory.models):  # a Luthier server keeps them
        return
    expiry = _day((stored.oldest or 0) + STORED_COMPLETION_DAYS * 86400) if stored.oldest else None
    count = f"{stored.count}{'' if stored.complete else '+'}"
    text = say(
        f"{count} stored completions with their messages: they expire {STORED_COMPLETION_DAYS} days after creation.",
        f"{count} 个保存的对话补全（stored completions）及其消息：创建 {STORED_COMPLETION_DAYS} 天后过期。",
        language,
    )
    yield _loss("stored_completions", stored.count, expiry, inventory, text)


def _batch_losses(inventory: Inventory, language: Language | None) -> Iterable[Loss]:
    outputs = {str(batch[key]) for batch in inventory.batches for key in ("output_file_id", "error_file_id")
               if batch.get(key)}  # fmt: skip
    if not outputs:
        return
    files = [inventory.files[file_id] for file_id in outputs if file_id in inventory.files]
    expiries = [file.expires_at for file in files if file.expires_at]
    files_of = "output file" if len(outputs) == 1 else "output files"
    text = say(f"{len(outputs)} {files_of} of batches.", f"{len(outputs)} 个批处理输出文件。", language)
    yield _loss("batch_outputs", len(outputs), _day(min(expiries)) if expiries else None, inventory, text)


def _answer_losses(inventory: Inventory, language: Language | None) -> Iterable[Loss]:
    by_day: dict[Shutdown | None, int] = {}
    for model in inventory.models:
        if not model.local and model.listed is not False and not model.is_off(inventory.today):
            by_day[model.shutdown] = by_day.get(model.shutdown, 0) + 1
    for shutdown, count in by_day.items():
        text = say(
            f"The answers of {count} fine-tuned {'model' if count == 1 else 'models'}: they cannot be recorded once "
            f"{'it is' if count == 1 else 'they are'} off, and the weights cannot be downloaded.",
            f"{count} 个微调模型的回答：模型关闭后无法再录制，权重也不能下载。",
            language,
        )
        yield _loss("answers", count, shutdown.date if shutdown else None, inventory, text)


def _file_losses(inventory: Inventory, language: Language | None) -> Iterable[Loss]:
    files = [file for file in inventory.files.values() if file.state == "available"]
    if files:
        text = say(
            f"{len(files)} files (training, validation, results): available as long as the account exists and nobody "
            "deletes them.",
            f"{len(files)} 个文件（训练、验证、结果）：账号还在且未被删除时可以下载。",
            language,
        )
        yield _loss("files", len(files), None, inventory, text)
    if inventory.jobs:
        text = say(
            f"{len(inventory.jobs)} jobs with hyperparameters, events and checkpoints' metrics.",
            f"{len(inventory.jobs)} 个微调任务：超参数、事件和检查点的指标。",
            language,
        )
        yield _loss("jobs", len(inventory.jobs), None, inventory, text)


def _loss(kind: Any, count: int, last_day: date | None, inventory: Inventory, text: str) -> Loss:
    return Loss(kind, count, last_day, (last_day - inventory.today).days if last_day else None, text)


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()
