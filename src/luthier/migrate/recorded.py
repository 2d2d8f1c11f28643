"""The models of a recording, each with its job, its files and its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.migrate.folder import RecordingFolder
from luthier.migrate.inventory import JobEntry, ModelEntry
from luthier.migrate.shutdown import base_of
from luthier.types.errors import LuthierError


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """A fine-tuned model of the old service.

    Attributes:
        base: The base model that it was fine-tuned on; None if unknown.
        parent: The fine-tuned model that its job continued; None if it started from a base.
        training, validation: The recorded files; None for a file that no longer exists or never existed.
        lines: The model's lines in `answers/`.
        stored: The stored completions that the model answered, as recorded.
    """

    name: str
    job: JobEntry | None = None
    training: Path | None = None
    validation: Path | None = None
    lines: tuple[dict[str, Any], ...] = ()
    stored: tuple[dict[str, Any], ...] = ()

    @property
    def base(self) -> str | None:
        model = str(self.job.job.get("model") or "") if self.job else ""
        return base_of(self.name) or base_of(model) or model or None

    @property
    def parent(self) -> str | None:
        model = str(self.job.job.get("model") or "") if self.job else ""
        return model if base_of(model) else None

    @property
    def answers(self) -> Iterator[dict[str, Any]]:
        """The lines with a response."""
        return (line for line in self.lines if line.get("response"))

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(self.name, self.base, listed=None, shutdown=None, job=self.job)


def recorded_models(root: Path, names: Iterable[str] = ()) -> list[RecordedModel]:
    """The models of a recording, or those in `names`, sorted so that a model comes before those that continue it.

    Raises:
        LuthierError: The folder contains no recording, or a name is unknown.
    """
    folder = RecordingFolder(root)
    if not folder.is_recording:
        raise LuthierError(
            say(
                f"{root} is not the folder of a recording. `luthier migrate record --out {root}` creates one.",
                f"{root} 不是录制文件夹。用 `luthier migrate record --out {root}` 录制。",
            )
        )
    models = _read(folder)
    unknown = [name for name in names if name not in models]
    if unknown:
        names = ", ".join(models) or "–"
        raise LuthierError(say(f"{root} has no model {unknown[0]}. Its models: {names}",
                               f"{root} 里没有模型 {unknown[0]}。其中的模型：{names}"))  # fmt: skip
    selected = [model for name, model in models.items() if not names or name in set(names)]
    return sorted(selected, key=lambda model: int(model.job.job.get("created_at") or 0) if model.job else 0)


def _read(folder: RecordingFolder) -> dict[str, RecordedModel]:
    """The models of a recording by name: those of its jobs, then others with recorded answers."""
    files = folder.lines("files").entries
    stored = list(folder.lines("stored_completions").entries.values())
    lines = {str(entries[0]["model"]): entries for entries in _answers(folder)}
    jobs = [JobEntry(job) for job in folder.lines("jobs").entries.values()]
    by_model = {job.model: job for job in jobs if job.model}
    return {
        name: RecordedModel(
            name,
            job := by_model.get(name),
            _path(folder, files, job, "training"),
            _path(folder, files, job, "validation"),
            tuple(lines.get(name, ())),
            tuple(completion for completion in stored if completion.get("model") == name),
        )
        for name in dict.fromkeys([*by_model, *lines])
    }


def _answers(folder: RecordingFolder) -> Iterator[list[dict[str, Any]]]:
    for path in sorted((folder.root / "answers").glob("*.jsonl")):
        if entries := list(folder.answer_lines(path)):
            yield entries


def _path(folder: RecordingFolder, files: dict[str, dict[str, Any]], job: JobEntry | None, role: str) -> Path | None:
    for file_id in job.files[role] if job else []:
        path = folder.content(files.get(file_id, {}))
        if path:
            return path
    return None
