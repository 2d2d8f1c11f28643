"""The result of `luthier migrate record`, and the manifest of the folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from luthier.language import say
from luthier.migrate.account import Gap
from luthier.migrate.answers import ModelAnswers
from luthier.migrate.folder import RecordingFolder, read_json, sha256, write_json
from luthier.migrate.inventory import Inventory
from luthier.types.errors import LuthierError

FORMAT_VERSION = 1


@dataclass
class Recording:
    """The result of a run: what the folder contains, what is missing, and why."""

    inventory: Inventory
    folder: RecordingFolder
    gaps: list[Gap] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    vision_jobs: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    answers: list[ModelAnswers] = field(default_factory=list)
    earlier: dict[str, dict[str, Any]] = field(default_factory=dict)  # model → the counts of earlier runs
    requests: dict[str, int] = field(default_factory=dict)
    spent_usd: float = 0.0
    without_answers: str | None = None  # why no question was sent to any model; None if some were

    @property
    def failed_files(self) -> list[dict[str, Any]]:
        """Existing files that could not be downloaded."""
        return [file for file in self.files if file.get("error") and file["error"].get("status") != 404]

    @property
    def deleted_files(self) -> list[dict[str, Any]]:
        return [file for file in self.files if file.get("error") and file["error"].get("status") == 404]

    @property
    def is_complete(self) -> bool:
        missing = any(model["missing"] for model in self._models())
        refused = any(not area.is_absent for area in self.gaps)
        return not (refused or self.failed_files or missing or self.without_answers)

    @property
    def is_final(self) -> bool:
        """Whether nothing more can be recorded: all questions without answers are for models that are switched off."""
        reasons = [(model["stopped"] or {}).get("status") for model in self._models() if model["missing"]]
        refused = any(not area.is_absent for area in self.gaps)
        return not (refused or self.failed_files or self.without_answers) and all(
            status in (404, 410) for status in reasons
        )

    def _models(self) -> list[dict[str, Any]]:
        """The counts of every model with answers in the folder."""
        current = {model.model: {**asdict(model), "missing": model.missing} for model in self.answers}
        return list((self.earlier | current).values())

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
            "documents": {self.folder.relative(path): sha256(path) for path in self.folder.documents()},
            "vision_jobs": self.vision_jobs,
            "answers": self._models(),
            "without_answers": self.without_answers,
            "requests": self.requests,
            "spent_usd": round(self.spent_usd, 6),
            "gaps": [asdict(area) for area in self.gaps],
        }

    def write_manifest(self) -> None:
        write_json(self.folder.manifest, self.to_dict())


def earlier_answers(folder: RecordingFolder) -> dict[str, dict[str, Any]]:
    """Model → counts of its answers, from the manifest of earlier runs."""
    manifest = read_json(folder.manifest) if folder.manifest.exists() else {}
    return {str(model["model"]): model for model in manifest.get("answers") or []}


def check_same_account(folder: RecordingFolder, inventory: Inventory) -> None:
    """Raises LuthierError if the account has none of the recorded jobs, so that the folder is another project's."""
    recorded = folder.lines("jobs").entries
    if recorded and inventory.jobs and recorded.keys().isdisjoint(job.id for job in inventory.jobs):
        raise LuthierError(
            say(
                f"{folder.root} is the recording of another account or project: this account has none of its jobs. "
                "Give each project its own folder with --out.",
                f"{folder.root} 是另一个账号或项目的录制：其中的任务在这个账号里一个也没有。请用 --out 为每个项目"
                "单独指定文件夹。",
            )
        )
