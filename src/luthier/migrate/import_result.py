"""The result of an import, object by object."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ImportResult:
    """The ids of the imported objects, and of those that were not imported.

    Attributes:
        source: The address of the recorded account, or the folder.
        answers: Model → id of the file with its recorded answers.
        present: Ids of objects that existed already.
        missing: Ids of files without content in the folder.
        damaged: Ids of files whose checksum differs.
        refused: Id → reason, for objects that cannot be stored here.
        faults: Name → reason, for the user's own files that are not training files.
        other_files: How many files other than JSONL the user's own folder contains.
        untrainable: Job id → reason, for jobs that cannot be trained again here.
    """

    source: str
    files: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    stored_completions: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    other_files: int = 0
    untrainable: dict[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether everything in the folder was imported."""
        return not (self.damaged or self.refused or self.faults)

    def to_dict(self) -> dict[str, Any]:
        names = {"source": "imported_from", "present": "already_present", "missing": "missing_files",
                 "damaged": "damaged_files"}  # fmt: skip
        return {names.get(name, name): value for name, value in asdict(self).items()}
