"""Pulling base models: makes a hub id, a folder or a GGUF file available as a model for requests."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import httpx

from luthier.catalogue import hubs, model_spec
from luthier.catalogue.bases import ENTRIES, Catalogue, Notify
from luthier.catalogue.bundled_base import run_conversion
from luthier.catalogue.compatibility import check_folder, has_weights
from luthier.catalogue.download import Progress, download, place_copy, shares_disk
from luthier.catalogue.file_filter import reject_split_gguf, select_files
from luthier.catalogue.gguf_header import read_header
from luthier.catalogue.hub_cache import cached_file, cached_repository, is_offline
from luthier.catalogue.licence import licence_of
from luthier.catalogue.local_models import LocalModel, LocalModels
from luthier.language import current, say
from luthier.settings import Settings
from luthier.types.errors import BaseModelError

_RESERVED_BYTES = 512 * 1024**2  # disk space that a pull leaves free
_CONVERTED_BYTES = 2  # of a weight, in bfloat16


def pull_model(
    source: str,
    catalogue: Catalogue,
    settings: Settings,
    notify: Notify,
    progress: Progress = lambda *_: None,
    *,
    name: str | None = None,
    revision: str | None = None,
) -> tuple[str, Path]:
    """Fetches a base model, unless it is on this machine already. Returns its name and folder.

    Args:
        source: a catalogue entry, hub id, folder or GGUF file.
        settings: hub endpoints and tokens, and the names that are in use.
        notify: receives a message per step, in the language of the environment.
        name: the name in requests; None: the hub id, or the name of the file or folder.
        revision: branch, tag or commit; None: the hub's default branch.
    Raises:
        BaseModelError
    """
    if source in ENTRIES:
        return source, catalogue.folder(source, notify, current())
    local = catalogue.pulled.find(source)
    if local and not name and not revision:
        notify(_already_pulled(source))
        return source, local.path
    spec = model_spec.parse(source)
    name = name or model_spec.default_name(spec)
    model_spec.check_name(name)
    _check_available(name, settings)
    with catalogue.pulled.lock(name):  # one process pulls, the others find the model
        local = catalogue.pulled.find(name)
        pull = _Pull(name, catalogue.pulled, notify, progress)
        if isinstance(spec, model_spec.HubModel):
            with hubs.open_client(settings, spec.hub) as client:
                model = pull.from_hub(client, spec, revision, local)
        else:
            model = pull.from_path(spec, local)
    notify(say(f"Ready: use it as model={model.name}", f"已就绪：用 model={model.name} 调用"))
    return model.name, model.path


def _check_available(name: str, settings: Settings) -> None:
    if name in settings.names() or name in ENTRIES:
        raise BaseModelError(
            say(
                f"'{name}' is already the name of another model; choose a name with --name.",
                f"“{name}”已是另一个模型的名称，请用 --name 另取一个。",
            )
        )


class _Pull:
    """One pull of the model `name` into `models`."""

    def __init__(self, name: str, models: LocalModels, notify: Notify, progress: Progress) -> None:
        self._name, self._models, self._notify, self._progress = name, models, notify, progress

    def from_hub(
        self, client: httpx.Client, spec: model_spec.HubModel, revision: str | None, local: LocalModel | None
    ) -> LocalModel:
        offline = is_offline(spec)
        repository = cached_repository(spec, revision) if offline else hubs.read_repository(client, spec, revision)
        if local:
            return self._existing(local, str(spec), repository.revision)
        staging = self._models.staging_folder(self._name, f"{spec.hub}--{repository.revision}")
        architecture = self._download(client, repository, staging)
        if not spec.file and not has_weights(staging):
            raise BaseModelError(
                say(
                    f"{spec.id} lacks some of the files that its model.safetensors.index.json names.",
                    f"{spec.id} 缺少 model.safetensors.index.json 所列的部分权重文件。",
                )
            )
        model = self._describe(str(spec), repository.revision, architecture, staging, repository.licence)
        if spec.file:
            target = staging.with_name(staging.name + "--converted")
            return self._convert(staging / Path(spec.file).name, model, target)
        return self._add(staging, model)

    def _download(self, client: httpx.Client, repository: hubs.Repository, staging: Path) -> str:
        """Downloads into `staging`. Returns the architecture, which is checked before weights are fetched."""
        configuration, weights = select_files(repository)
        staging.mkdir(parents=True, exist_ok=True)
        self._check_disk(staging, self._needed_bytes(repository, [*configuration, *weights], staging))
        try:
            self._fetch(client, repository, configuration, staging)
            architecture = "" if repository.model.file else check_folder(staging, self._name)
            self._fetch(client, repository, weights, staging)
        except httpx.HTTPError as error:
            raise hubs.hub_error(client, repository.model, error) from error
        return architecture

    def _needed_bytes(self, repository: hubs.Repository, files: list[hubs.RemoteFile], staging: Path) -> int:
        """Room on the disk for `files`; those in Hugging Face's cache on the same disk need none."""
        copies = {file.path: cached_file(repository.model, repository.revision, file.path) for file in files}
        if any(copies.values()):
            present = len(files) - list(copies.values()).count(None)
            self._notify(
                say(
                    f"{present} of {len(files)} files are in Hugging Face's cache and are not downloaded",
                    f"{len(files)} 个文件中有 {present} 个已在 Hugging Face 的缓存里，无需下载",
                )
            )
        linked = {path for path, copy in copies.items() if copy and shares_disk(copy, staging)}
        return sum(file.size_bytes for file in files if file.path not in linked)

    def _fetch(
        self, client: httpx.Client, repository: hubs.Repository, files: list[hubs.RemoteFile], staging: Path
    ) -> None:
        for file in files:
            target = staging / Path(file.path).name
            copy = cached_file(repository.model, repository.revision, file.path)
            if target.exists() or (copy and place_copy(copy, file, target)):
                continue
            if copy:
                self._notify(_damaged(file.path))
            if not file.url:
                raise BaseModelError(_damaged(file.path))
            download(client, file, target, self._progress)

    def from_path(self, path: Path, local: LocalModel | None) -> LocalModel:
        """A folder is kept by reference; a GGUF file is converted."""
        if path.is_dir():
            if local:
                return self._existing(local, str(path), "")
            architecture = check_folder(path, path.name)
            if not has_weights(path):
                raise BaseModelError(_no_weights(path))
            self._notify(say(f"The folder is used in place: {path}", f"文件夹保留在原处：{path}"))
            staging = self._models.staging_folder(self._name, "folder")
            return self._add(staging, self._describe(str(path), "", architecture, path, licence_of(path)))
        if path.suffix != ".gguf":
            raise BaseModelError(
                say(
                    f"{path.name} is neither a folder nor a .gguf file.",
                    f"{path.name} 既不是文件夹，也不是 .gguf 文件。",
                )
            )
        reject_split_gguf(path.name)
        revision = f"{path.stat().st_size}-{int(path.stat().st_mtime)}"
        if local:
            return self._existing(local, str(path), revision)
        model = self._describe(str(path), revision, "", path, "")
        return self._convert(path, model, self._models.staging_folder(self._name, "converted"))

    def _convert(self, gguf: Path, model: LocalModel, staging: Path) -> LocalModel:
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(parents=True, exist_ok=True)
        header = read_header(gguf)
        self._check_disk(staging.parent, _CONVERTED_BYTES * header.parameters)
        self._notify(
            say(
                "Converting the weights to safetensors, once; this may take a minute",
                "正在把权重转换为 safetensors，仅此一次，可能需要一分钟",
            )
        )
        run_conversion(gguf, staging)
        architecture = check_folder(staging, self._name)
        licence = model.licence or header.licence
        added = self._add(staging, replace(model, licence=licence, architecture=architecture, path=staging))
        if gguf.parent.parent == staging.parent:  # the download, which is no longer needed
            shutil.rmtree(gguf.parent)
        return added

    def _describe(self, source: str, revision: str, architecture: str, path: Path, licence: str) -> LocalModel:
        return LocalModel(self._name, source, revision, licence, architecture, 0, int(time.time()), path)

    def _add(self, staging: Path, model: LocalModel) -> LocalModel:
        size = sum(file.stat().st_size for file in model.path.iterdir() if file.is_file())
        if not (model.path / "chat_template.jinja").exists() and not _has_template(model.path):
            self._notify(
                say(
                    "The model has no chat template, so it was not trained for chat. Luthier's own template is used.",
                    "该模型没有对话模板，即未经对话训练；将使用 Luthier 自带的模板。",
                )
            )
        return self._models.add(staging, replace(model, size_bytes=size))

    def _existing(self, local: LocalModel, source: str, revision: str) -> LocalModel:
        """`local`, if it has this source and revision. Raises BaseModelError otherwise."""
        if (local.source, local.revision) == (source, revision):
            self._notify(_already_pulled(self._name))
            return local
        raise BaseModelError(
            say(
                f"{self._name} is already on this machine, but from {local.source} {local.revision[:12]}, not from "
                f"{source} {revision[:12]}. Pull it under another name with --name, or first run "
                f"`luthier models rm {self._name}`.",
                f"本机已有 {self._name}，但来自 {local.source} {local.revision[:12]}，而不是 {source} {revision[:12]}。"
                f"请用 --name 另取一个名字，或先运行 `luthier models rm {self._name}`。",
            )
        )

    def _check_disk(self, folder: Path, total_bytes: int) -> None:
        """Raises BaseModelError without enough disk space. Files in `folder` from an earlier attempt count."""
        present = [file.stat() for file in folder.glob("*") if file.is_file()]
        missing = total_bytes - sum(stat.st_size for stat in present if stat.st_nlink == 1)
        free = shutil.disk_usage(folder).free
        if missing + _RESERVED_BYTES > free:
            required, available = f"{(missing + _RESERVED_BYTES) / 1024**3:.1f} GiB", f"{free / 1024**3:.1f} GiB"
            cache = self._models.folder.parent
            raise BaseModelError(
                say(
                    f"{self._name} needs {required} on the disk of {cache}, where {available} are free. "
                    "LUTHIER_CACHE sets another folder.",
                    f"{self._name} 需要 {required} 磁盘空间，而 {cache} 所在磁盘只剩 {available}。"
                    "可用 LUTHIER_CACHE 指定别的文件夹。",
                )
            )


def _damaged(path: str) -> str:
    return say(
        f"{path} in Hugging Face's cache is damaged: it does not match its checksum. Unset HF_HUB_OFFLINE to download "
        "it again.",
        f"Hugging Face 缓存里的 {path} 已损坏，与其校验和不符。不设置 HF_HUB_OFFLINE 时会重新下载。",
    )


def _already_pulled(name: str) -> str:
    return say(f"{name} is already on this machine.", f"{name} 已在本机。")


def _has_template(folder: Path) -> bool:
    try:
        return "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _no_weights(path: Path) -> str:
    pickles = any(path.glob("*.bin")) or any(path.glob("*.pt"))
    return say(
        f"{path} has no model.safetensors"
        + (", only pickles, which can run code when loaded and are therefore never opened." if pickles else "."),
        f"{path} 里没有 model.safetensors"
        + ("，只有 pickle 格式的权重，加载时可能执行代码，因此从不打开。" if pickles else "。"),
    )
