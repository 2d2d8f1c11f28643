"""Pulled base models: one folder each in the cache, with `base.json` beside the weights.

Folder names are never reused, so a path to a folder always means the same weights.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

_METADATA = "base.json"


@dataclass(frozen=True)
class LocalModel:
    """A pulled model. Field names are the keys of `base.json`.

    `source` is the hub id, file or folder; `made_at` is in Unix seconds; `path` is the model folder.
    """

    name: str
    source: str
    revision: str
    licence: str
    architecture: str
    size_bytes: int
    made_at: int
    path: Path


class LocalModels:
    """The pulled models, read from disk on each access, because other processes pull and remove models too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[LocalModel]:
        for path in sorted(self.folder.glob(f"*/{_METADATA}")):
            try:
                metadata = json.loads(path.read_text(encoding="utf-8"))
                external = metadata.pop("path", None)
                yield LocalModel(**metadata, path=Path(external) if external else path.parent)
            except (OSError, ValueError, TypeError):
                continue  # being removed right now, or written by another program

    def find(self, name: str) -> LocalModel | None:
        return next((model for model in self if model.name == name), None)

    def lock(self, name: str) -> FileLock:
        """The lock of the process that pulls or removes `name`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f".{_slug(name)}.lock")

    def staging_folder(self, name: str, revision: str) -> Path:
        """Where a pull collects its files; the same folder on every retry."""
        return self.folder / ".part" / f"{_slug(name)}--{_slug(revision)}"

    def add(self, staging: Path, model: LocalModel) -> LocalModel:
        """Publishes a staging folder atomically, by renaming it. A `model.path` outside of it is kept by reference."""
        target = self.folder / f"{_slug(model.name)}--{secrets.token_hex(4)}"
        metadata = asdict(model)
        if model.path == staging:
            del metadata["path"]
        else:
            metadata["path"] = str(model.path)
        staging.mkdir(parents=True, exist_ok=True)
        (staging / _METADATA).write_text(json.dumps(metadata, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        staging.rename(target)
        return next(added for added in self if added.name == model.name)

    def remove(self, name: str) -> None:
        """Deletes the pulled files; a folder kept by reference stays."""
        for path in self.folder.glob(f"*/{_METADATA}"):
            if json.loads(path.read_text(encoding="utf-8"))["name"] == name:
                path.unlink()  # first, so that no reader sees half a model
                shutil.rmtree(path.parent)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "--", text, flags=re.ASCII)[:100]
