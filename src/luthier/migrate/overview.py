"""A summary of a recording by model, from its inventory and manifest alone, which is fast enough for a web page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.migrate.folder import RecordingFolder, read_json
from luthier.types.overview import RecordedModel


@dataclass(frozen=True)
class RecordingOverview:
    """The models of a recording; `updated_at` is in ISO 8601, None while the first run has not finished."""

    provider: str
    updated_at: str | None
    models: list[RecordedModel]


def recording_overview(root: Path) -> RecordingOverview:
    """The overview of the recording in a folder.

    Raises:
        LuthierError: The recording is damaged.
        OSError: The folder contains no recording.
    """
    folder = RecordingFolder(root)
    inventory = read_json(folder.inventory)
    manifest = read_json(folder.manifest) if folder.manifest.exists() else {}
    answers = {str(entry["model"]): entry for entry in manifest.get("answers") or []}
    contents = {file_id for file_id, file in (manifest.get("files") or {}).items() if file.get("path")}
    models = []
    for entry in inventory["models"]:
        counts = answers.get(entry["id"], {})
        training = [file["id"] for file in entry["files"] if file["role"] == "training"]
        models.append(
            RecordedModel(
                model=entry["id"],
                base=entry["base"],
                shutdown_date=entry["shutdown_date"],
                files=bool(training) and contents.issuperset(training),
                questions=counts.get("questions", 0),
                answered=counts.get("answered", 0),
            )
        )
    return RecordingOverview(inventory["provider"], manifest.get("updated_at"), models)
