"""Writes the folder of each target."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from luthier.export.adapter import CONFIG, WEIGHTS, Adapter
from luthier.export.gguf_files.lora_file import write_lora
from luthier.export.gguf_files.model_file import ModelFile
from luthier.export.ollama.modelfile import write_modelfile
from luthier.export.source import TEMPLATE, ExportSource
from luthier.export.targets import Target
from luthier.export.vllm import write_command
from luthier.language import say
from luthier.types.errors import ExportError
from luthier.weights import TOKENIZER_FILES, count_parameters

Form = Literal["peft", "merged", "gguf", "gguf-lora"]
_INDEX = "model.safetensors.index.json"
# Configuration keys that are not exported: paths of this machine, and custom code that is never run.
_LOCAL_KEYS = ("_name_or_path", "_model_name_or_path", "name_or_path", "auto_map", "transformers_weights")


@dataclass(frozen=True)
class Artefact:
    """A folder (`peft`, `merged`) or a GGUF file that a runtime loads; `quantization` is the type of a GGUF model."""

    form: Form
    path: Path
    quantization: str = ""

    @property
    def label(self) -> str:
        return self.quantization or self.form

    def byte_count(self) -> int:
        """The size of the weights in bytes."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.glob("*.safetensors"))


class TargetWriter:
    """Writes the folder of `target` for one model.

    `base_id` is the public name of the base model; None takes the hub id that it was pulled from.
    """

    def __init__(self, source: ExportSource, target: Target, base_id: str | None) -> None:
        """Checks that the target is possible before anything is written.

        Raises:
            ExportError: This model cannot be exported to the target.
            BaseModelError: The base model cannot be read.
        """
        self._source, self._target = source, target
        self._files = {name: ModelFile(source, name) for name in target.types}
        self.base_id = base_id or source.origin.hub_id
        if target.kind in ("peft", "gguf-lora") and source.adapter is None:
            raise ExportError(
                say(
                    f"All weights of {source.model.id} were trained: there is no adapter. Export merged or gguf.",
                    f"{source.model.id} 训练了全部权重，没有适配器。请导出 merged 或 gguf。",
                )
            )
        if target.kind == "peft" and self.base_id is None:
            raise ExportError(_no_base_id(source))

    def byte_count(self) -> int:
        """An upper bound, in bytes, for the disk space of the folder and of its verification."""
        if self._files:
            weights = sum(file.byte_count for file in self._files.values())
        elif self._target.kind in ("merged", "vllm"):
            weights = sum(file.stat().st_size for file in self._source.base.glob("*.safetensors"))
        else:
            weights = 2 * (self._source.folder / WEIGHTS).stat().st_size
            if self._target.kind == "gguf-lora":  # plus the base, on which it is verified
                weights += 2 * count_parameters(self._source.base)
        return weights + (self._source.base / "tokenizer.json").stat().st_size * (1 + len(self._files))

    def write(self, folder: Path) -> list[Artefact]:
        """Writes the files of the target into `folder` and returns its artefacts. Raises ExportError, OSError."""
        source, kind = self._source, self._target.kind
        if kind == "peft":
            return [self._write_peft(folder)]
        if kind == "gguf-lora":
            return [self._write_gguf_lora(folder)]
        if kind in ("merged", "vllm"):
            write_merged(source, folder)
            if kind == "vllm":
                write_command(source, folder)
            return [Artefact("merged", folder)]
        artefacts = []
        for name, file in self._files.items():
            path = folder / f"model-{name}.gguf"
            file.write(path)
            artefacts.append(Artefact("gguf", path, name))
        if kind == "ollama":
            write_modelfile(source, folder, artefacts[0].path.name)
        return artefacts

    def _write_peft(self, folder: Path) -> Artefact:
        source = self._source
        config = json.loads((source.folder / CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": self.base_id, "inference_mode": True}
        if source.origin.revision and self.base_id == source.origin.hub_id:
            config["revision"] = source.origin.revision
        _write_json(folder / CONFIG, config)
        shutil.copyfile(source.folder / WEIGHTS, folder / WEIGHTS)
        _write_tokenizer(source, folder)
        return Artefact("peft", folder)

    def _write_gguf_lora(self, folder: Path) -> Artefact:
        path = folder / "adapter.gguf"
        write_lora(self._source, _adapter_of(self._source), path)
        return Artefact("gguf-lora", path)


def write_merged(source: ExportSource, folder: Path) -> None:
    """Writes the merged model in transformers' format, with the dtype and the shards of the base."""
    for file in source.weights.shards:
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor, dtype in source.weights.shard(file)}
        save_file(tensors, folder / file.name, {"format": "pt"})
    if (source.base / _INDEX).exists():
        shutil.copyfile(source.base / _INDEX, folder / _INDEX)
    _write_json(folder / "config.json", _without_local_keys(source.base / "config.json"))
    _write_tokenizer(source, folder)


def _adapter_of(source: ExportSource) -> Adapter:
    assert source.adapter is not None  # noqa: S101 - checked when the writer is made
    return source.adapter


def _write_tokenizer(source: ExportSource, folder: Path) -> None:
    """Copies the base's tokenizer. The chat template of the training replaces that of the base, in a single file."""
    for name in TOKENIZER_FILES:
        if (source.base / name).exists() and name != "tokenizer_config.json":
            shutil.copyfile(source.base / name, folder / name)
    config = _without_local_keys(source.base / "tokenizer_config.json")
    config.pop("chat_template", None)
    _write_json(folder / "tokenizer_config.json", config)
    (folder / TEMPLATE).write_text(source.renderer.template.text, encoding="utf-8")


def _without_local_keys(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in values.items() if key not in _LOCAL_KEYS}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _no_base_id(source: ExportSource) -> str:
    return say(
        f"Others can use an adapter only with its base, and the name {source.base_name} is known only on this machine. "
        "Give the public id of the base with --base-id ORGANIZATION/NAME, or export merged.",
        f"适配器须与基座一起使用，而 {source.base_name} 只存在于本机。"
        "请用 --base-id 组织/名称 给出别人能找到的基座，或导出 merged。",
    )
