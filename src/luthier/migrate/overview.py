"""What a recording says of each model, without reading its answers: for a page that is looked at often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.migrate.folder import RecordingFolder, read_json
from luthier.types.overview import RecordedModel


@dataclass(frozen=True)
class RecordingOverview:
    """`updated_at`: ISO 8601, None before the first run has come to its end."""

    provider: str
    updated_at: str | None
    models: list[RecordedModel]


def recording_overview(root: Path) -> RecordingOverview:
    """Raises LuthierError for a damaged recording, OSError for a folder that is none."""
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
