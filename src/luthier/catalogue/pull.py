"""`luthier models pull`: from a hub's id, a folder or a GGUF file to a base model that `model=` may name."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import httpx

from luthier.catalogue import hubs, model_spec
from luthier.catalogue.bases import ENTRIES, Catalogue, Report
from luthier.catalogue.bundled_base import run_conversion
from luthier.catalogue.compatibility import check_folder, has_weights
from luthier.catalogue.download import Progress, download
from luthier.catalogue.file_filter import files_of, refuse_part
from luthier.catalogue.local_models import Pulled, PulledBases
from luthier.language import say
from luthier.settings import Settings
from luthier.types.errors import BaseModelError

_SPARE_BYTES = 512 * 1024**2  # stay free on the disk


def pull(
    asked: str | None,
    report: Report,
    progress: Progress = lambda *_: None,
    *,
    name: str | None = None,
    revision: str | None = None,
    settings: Settings | None = None,
) -> tuple[str, Path]:
    """Make a base model ready (the settings' own when none is asked for): its name and its folder.

    Raises BaseModelError.
    """
    settings = settings or Settings()
    catalogue = Catalogue(settings.cache)
    if asked is None or asked in ENTRIES:
        base = asked or settings.base
        return base, catalogue.folder(base, report)
    there = catalogue.pulled.find(asked)
    if there and not name and not revision:
        report(say(f"{asked} is here already.", f"{asked} 已在本机。"))
        return asked, there.path
    found = model_spec.read(asked)
    name = name or model_spec.default_name(found)
    model_spec.check_name(name)
    _check_free(name, settings)
    with catalogue.pulled.lock(name):  # one process pulls, the others find it there
        there = catalogue.pulled.find(name)
        pulling = _Pull(name, catalogue.pulled, settings, report, progress)
        if isinstance(found, model_spec.HubModel):
            made = pulling.from_hub(found, revision, there)
        else:
            made = pulling.local(found, there)
    report(say(f"Ready: use it as model={made.name}", f"已就绪：用 model={made.name} 调用"))
    return made.name, made.path


def _check_free(name: str, settings: Settings) -> None:
    if name in settings.names() or name in ENTRIES:
        raise BaseModelError(
            say(
                f"'{name}' is a name that stands for something else here; choose another with --name.",
                f"“{name}”在这里已有别的含义，请用 --name 另取一个。",
            )
        )


class _Pull:
    def __init__(self, name: str, bases: PulledBases, settings: Settings, report: Report, progress: Progress) -> None:
        self._name, self._bases, self._settings = name, bases, settings
        self._report, self._progress = report, progress

    def from_hub(self, model: model_spec.HubModel, revision: str | None, there: Pulled | None) -> Pulled:
        with hubs.open_client(self._settings, model.hub) as client:
            repository = hubs.look(client, model, revision)
            if there:
                return self._same(there, str(model), repository.revision)
            about, weights = files_of(repository)
            part = self._bases.part(self._name, f"{model.hub}--{repository.revision}")
            part.mkdir(parents=True, exist_ok=True)
            self._room(part, sum(file.size_bytes for file in [*about, *weights]))
            try:
                self._fetch(client, about, part)
                architecture = "" if model.file else check_folder(part, self._name)
                self._fetch(client, weights, part)
            except httpx.HTTPError as error:
                raise hubs.trouble(client, model, error) from error
        if not model.file and not has_weights(part):
            raise BaseModelError(
                say(
                    f"{model.id} has not all the parts that its model.safetensors.index.json names.",
                    f"{model.id} 缺少 model.safetensors.index.json 所列的部分权重文件。",
                )
            )
        made = self._described(str(model), repository.revision, architecture, part, repository.licence)
        if model.file:
            return self._convert(part / Path(model.file).name, made, part.with_name(part.name + "--converted"))
        return self._keep(part, made)

    def _fetch(self, client: httpx.Client, files: list[hubs.RemoteFile], part: Path) -> None:
        for file in files:
            target = part / Path(file.path).name
            if not target.exists():
                download(client, file, target, self._progress)

    def local(self, path: Path, there: Pulled | None) -> Pulled:
        """A folder stays where it is; a GGUF file is converted."""
        if path.is_dir():
            if there:
                return self._same(there, str(path), "")
            architecture = check_folder(path, path.name)
            if not has_weights(path):
                raise BaseModelError(_no_weights(path))
            self._report(say(f"The folder stays where it is: {path}", f"文件夹保留在原处：{path}"))
            part = self._bases.part(self._name, "folder")
            return self._keep(part, self._described(str(path), "", architecture, path, ""))
        if path.suffix != ".gguf":
            raise BaseModelError(
                say(
                    f"{path.name} is neither a folder nor a .gguf file.",
                    f"{path.name} 既不是文件夹，也不是 .gguf 文件。",
                )
            )
        refuse_part(path.name)
        revision = f"{path.stat().st_size}-{int(path.stat().st_mtime)}"
        if there:
            return self._same(there, str(path), revision)
        made = self._described(str(path), revision, "", path, "")
        return self._convert(path, made, self._bases.part(self._name, "converted"))

    def _convert(self, file: Path, made: Pulled, part: Path) -> Pulled:
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        self._room(part.parent, _unpacked_bytes(file))
        self._report(
            say(
                "Converting the weights to safetensors, once; this may take a minute",
                "正在把权重转换为 safetensors，仅此一次，可能需要一分钟",
            )
        )
        run_conversion(file, part)
        architecture = check_folder(part, self._name)
        kept = self._keep(part, replace(made, architecture=architecture, path=part))
        if file.parent.parent == part.parent:  # what was fetched only for this
            shutil.rmtree(file.parent)
        return kept

    def _described(self, where: str, revision: str, architecture: str, path: Path, licence: str) -> Pulled:
        return Pulled(self._name, where, revision, licence, architecture, 0, int(time.time()), path)

    def _keep(self, part: Path, made: Pulled) -> Pulled:
        size = sum(file.stat().st_size for file in made.path.iterdir() if file.is_file())
        if not (made.path / "chat_template.jinja").exists() and not _has_template(made.path):
            self._report(
                say(
                    "It has no chat template: it was not taught to chat. Luthier's own is used.",
                    "它没有对话模板，即未经对话训练；将使用 Luthier 自带的模板。",
                )
            )
        return self._bases.keep(part, replace(made, size_bytes=size))

    def _same(self, there: Pulled, where: str, revision: str) -> Pulled:
        """What has the name already, if it is this. Raises BaseModelError."""
        if (there.source, there.revision) == (where, revision):
            self._report(say(f"{self._name} is here already.", f"{self._name} 已在本机。"))
            return there
        raise BaseModelError(
            say(
                f"{self._name} is here already, from {there.source} {there.revision[:12]}, and what you ask for is "
                f"another: {where} {revision[:12]}. Pull it under another name with --name, or first "
                f"`luthier models rm {self._name}`.",
                f"本机已有 {self._name}，来自 {there.source} {there.revision[:12]}，与现在要的不同："
                f"{where} {revision[:12]}。"
                f"请用 --name 另取一个名字，或先 `luthier models rm {self._name}`。",
            )
        )

    def _room(self, folder: Path, wanted_bytes: int) -> None:
        """What lies in `folder` from an earlier try counts. Raises BaseModelError."""
        wanted = wanted_bytes - sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
        free = shutil.disk_usage(folder).free
        if wanted + _SPARE_BYTES > free:
            need, have = f"{(wanted + _SPARE_BYTES) / 1024**3:.1f} GiB", f"{free / 1024**3:.1f} GiB"
            raise BaseModelError(
                say(
                    f"{self._name} needs {need} on the disk of {self._settings.cache}, where {have} are free. "
                    "LUTHIER_CACHE names another folder.",
                    f"{self._name} 需要 {need} 磁盘空间，而 {self._settings.cache} 所在磁盘只剩 {have}。"
                    "可用 LUTHIER_CACHE 指定别的文件夹。",
                )
            )


def _has_template(folder: Path) -> bool:
    try:
        return "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _unpacked_bytes(file: Path) -> int:
    """In bfloat16. Raises BaseModelError for what is no GGUF file."""
    from gguf import GGUFReader

    try:
        return sum(2 * int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise BaseModelError(
            say(f"{file.name} is no GGUF file that can be read: {error}", f"{file.name} 不是可读的 GGUF 文件：{error}")
        ) from error


def _no_weights(path: Path) -> str:
    pickles = any(path.glob("*.bin")) or any(path.glob("*.pt"))
    return say(
        f"{path} has no model.safetensors"
        + (", only pickles, which run code when they are read and are never opened here." if pickles else "."),
        f"{path} 里没有 model.safetensors"
        + ("，只有 pickle 格式的权重，读取时会执行代码，因此从不打开。" if pickles else "。"),
    )
