"""What an import did, object by object."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ImportResult:
    """Ids by outcome.

    Attributes:
        answers: The id of the file of recorded answers, by model.
        present: Ids that were here already.
        missing: Files of jobs that are not in the folder.
        damaged: Files whose checksum differs.
        refused: Objects that cannot be kept here, with the reason.
        faults: Files of a person's own that are no training files, with the reason, by name.
        other_files: How many files of other kinds there are in a folder of a person's own.
        untrainable: Jobs that cannot be trained again here, with the reason.
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
        """Whether everything that the folder has is here."""
        return not (self.damaged or self.refused or self.faults)

    def to_dict(self) -> dict[str, Any]:
        names = {"source": "imported_from", "present": "already_present", "missing": "missing_files",
                 "damaged": "damaged_files"}  # fmt: skip
        return {names.get(name, name): value for name, value in asdict(self).items()}
