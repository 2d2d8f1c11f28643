"""The base models that a person pulled: a folder each in the cache, with `base.json` beside the weights.

A folder's name is never used twice, so whoever holds a path to it holds those weights and no others.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

_ABOUT = "base.json"


@dataclass(frozen=True)
class Pulled:
    """`source` and `revision`: where it came from; `path`: the model folder; `made_at`: Unix seconds."""

    name: str
    source: str
    revision: str
    licence: str
    architecture: str
    size_bytes: int
    made_at: int
    path: Path


class PulledBases:
    """Read anew each time: other processes pull and remove."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __iter__(self) -> Iterator[Pulled]:
        for about in sorted(self._folder.glob(f"*/{_ABOUT}")):
            try:
                said = json.loads(about.read_text(encoding="utf-8"))
                elsewhere = said.pop("path", None)
                yield Pulled(**said, path=Path(elsewhere) if elsewhere else about.parent)
            except (OSError, ValueError, TypeError):
                continue  # being removed at this moment, or not ours

    def find(self, name: str) -> Pulled | None:
        return next((one for one in self if one.name == name), None)

    def lock(self, name: str) -> FileLock:
        """Held by the process that pulls `name` or removes it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self._folder / f".{_slug(name)}.lock")

    def part(self, name: str, revision: str) -> Path:
        """Where a pull gathers its files; the same for the next try."""
        return self._folder / ".part" / f"{_slug(name)}--{_slug(revision)}"

    def keep(self, part: Path, pulled: Pulled) -> Pulled:
        """The gathered folder becomes a base, all at once. `pulled.path` other than `part`: the model lies there."""
        target = self._folder / f"{_slug(pulled.name)}--{secrets.token_hex(4)}"
        said = asdict(pulled)
        if pulled.path == part:
            del said["path"]
        else:
            said["path"] = str(pulled.path)
        part.mkdir(parents=True, exist_ok=True)
        (part / _ABOUT).write_text(json.dumps(said, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        part.rename(target)
        return next(one for one in self if one.name == pulled.name)

    def remove(self, name: str) -> None:
        """What was pulled goes; a folder that a person named stays where it is."""
        for about in self._folder.glob(f"*/{_ABOUT}"):
            if json.loads(about.read_text(encoding="utf-8"))["name"] == name:
                about.unlink()  # first, so that nobody finds half a model
                shutil.rmtree(about.parent)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "--", text, flags=re.ASCII)[:100]
