"""Plans for jobs on this server that train successors of recorded models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.language import say
from luthier.migrate.distillation import distilled_examples
from luthier.migrate.inventory import MIN_MULTIPLIER
from luthier.migrate.recorded import RecordedModel
from luthier.migrate.untrainable import has_images, reason_untrainable
from luthier.types.names import SUFFIX

MIN_EXAMPLES = 10
_NAMES = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta")


@dataclass(frozen=True, slots=True)
class RetrainOptions:
    """How to retrain.

    Attributes:
        base: The base model to train on; None for the model that the old base's name stands for here.
        recorded: Whether to use the recorded hyperparameters instead of `auto`.
    """

    base: str | None = None
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class RetrainPlan:
    """The plan for the job that trains a successor.

    Attributes:
        model: The old model.
        start: What the job starts from: a base, or an old model whose successor it continues.
        source: Where the examples come from.
        examples: The number of examples.
        file_ids: Role → id of the recorded file.
        distilled: The examples that were made of answers; empty if there is a training file.
        hyperparameters: The hyperparameters of the job; all others are `auto`.
        recorded: The hyperparameters of the old job.
        skipped: Why no job is created; None if one is.
        notes: Sentences about the plan for the user.
    """

    model: str
    start: str
    method: str = "supervised"
    source: Literal["training_file", "answers"] = "training_file"
    examples: int = 0
    training: Path | None = None
    validation: Path | None = None
    file_ids: dict[str, str] = field(default_factory=dict)
    distilled: tuple[dict[str, Any], ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    suffix: str | None = None
    seed: int | None = None
    skipped: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        hidden = ("distilled", "file_ids", "training", "validation")
        return {name: value for name, value in asdict(self).items() if name not in hidden} | {
            "training_file": str(self.training) if self.training else None,
            "validation_file": str(self.validation) if self.validation else None,
        }


def plan_retraining(models: Sequence[RecordedModel], options: RetrainOptions) -> list[RetrainPlan]:
    """A plan for each model, in the order of `models`, in which a model comes before those that continue it."""
    names = {model.name for model in models}
    return [_plan(model, options, continues=model.parent in names) for model in models]


def _plan(model: RecordedModel, options: RetrainOptions, *, continues: bool) -> RetrainPlan:
    """The plan for a model; `continues` if its parent is retrained too, so that its successor is the start."""
    start = str(model.parent) if continues else options.base or model.base or ""
    job = model.job.job if model.job else {}
    images = bool(model.training and has_images(model.training))
    if job and (reason := reason_untrainable(job, has_images=images)):
        return RetrainPlan(model.name, start, model.job.method if model.job else "", skipped=reason)
    if model.training is None:
        return _distilled_plan(model, start)
    method = model.job.method if model.job else "supervised"
    recorded = _recorded_hyperparameters(job, method)
    used, notes = _translated(recorded) if options.recorded else ({}, [])
    with model.training.open("rb") as lines:
        examples = sum(1 for line in lines if line.strip())
    if examples < MIN_EXAMPLES:
        reason = say(f"training examples: {examples}, fewer than {MIN_EXAMPLES}",
                     f"训练样本只有 {examples} 个，少于 {MIN_EXAMPLES} 个")  # fmt: skip
        return RetrainPlan(model.name, start, method, examples=examples, training=model.training, skipped=reason)
    suffix = job.get("user_provided_suffix") or _suffix_of(model.name)
    return RetrainPlan(
        model.name,
        start,
        method,
        examples=examples,
        training=model.training,
        validation=model.validation,
        file_ids={role: str(job[f"{role}_file"]) for role in ("training", "validation") if job.get(f"{role}_file")},
        hyperparameters=used,
        recorded=recorded,
        suffix=suffix if suffix and SUFFIX.fullmatch(suffix) else None,
        seed=job.get("seed") if isinstance(job.get("seed"), int) else None,
        notes=tuple(notes),
    )


def _distilled_plan(model: RecordedModel, start: str) -> RetrainPlan:
    """The plan for a model whose training file is gone: its recorded answers become the examples."""
    examples = distilled_examples(model)
    suffix = _suffix_of(model.name)
    notes = []
    if any(line.get("source") == "validation" for line in model.lines):
        notes.append(
            say(
                "The validation questions become training examples, so the report cannot use them as held-out ones.",
                "验证问题会成为训练样本，因此报告不能再把它们当作留出样本。",
            )
        )
    skipped = None
    if len(examples) < MIN_EXAMPLES:
        skipped = say(
            f"its training file is gone; recorded answers: {len(examples)}, fewer than {MIN_EXAMPLES}",
            f"训练文件已不存在，而录制的回答只有 {len(examples)} 个，少于 {MIN_EXAMPLES} 个",
        )
    return RetrainPlan(
        model.name, start, source="answers", examples=len(examples), distilled=tuple(examples), suffix=suffix,
        skipped=skipped, notes=tuple(notes),
    )  # fmt: skip


def _suffix_of(model: str) -> str | None:
    """The suffix in `ft:BASE:ORGANIZATION:SUFFIX:ID`; None if there is none that could be used here."""
    parts = model.split(":")
    return parts[3] if len(parts) > 3 and SUFFIX.fullmatch(parts[3]) else None


def _recorded_hyperparameters(job: dict[str, Any], method: str) -> dict[str, Any]:
    """The hyperparameters in the job's `method`, else those at the top level of the job."""
    block = (job.get("method") or {}).get(method) or {}
    values = {**(job.get("hyperparameters") or {}), **(block.get("hyperparameters") or {})}
    return {name: values[name] for name in _NAMES if values.get(name) is not None}


def _translated(recorded: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The recorded hyperparameters as this server accepts them; others become `auto`, each with a note."""
    used, notes = dict(recorded), []
    rate = recorded.get("learning_rate_multiplier")
    if isinstance(rate, int | float) and rate < MIN_MULTIPLIER:
        del used["learning_rate_multiplier"]
        notes.append(
            say(
                f"learning_rate_multiplier {rate:g} is an absolute learning rate: auto is used instead.",
                f"learning_rate_multiplier 为 {rate:g}，是绝对学习率：改用 auto。",
            )
        )
    for name, highest in (("n_epochs", 50), ("batch_size", 256)):
        value = used.get(name)
        if isinstance(value, int | float) and not 1 <= value <= highest:
            del used[name]
            notes.append(say(f"{name} {value} is not possible here: auto is used instead.",
                             f"{name} 为 {value}，这里不支持：改用 auto。"))  # fmt: skip
    return {name: value for name, value in used.items() if value != "auto"}, notes
