"""Imports PEFT adapters that were trained elsewhere: they are checked, named, and served like any fine-tuned model.

An imported adapter has no parity samples, so the parity gate cannot verify it.
"""

import json
import shutil
from pathlib import Path

from luthier.catalogue import Catalogue
from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.rendering.renderer import Renderer
from luthier.export.adapter import CONFIG, WEIGHTS, Adapter
from luthier.export.merge import MergedWeights
from luthier.export.source import TEMPLATE
from luthier.language import say
from luthier.store import Store
from luthier.types.common import now
from luthier.types.errors import ExportError
from luthier.types.ids import new_id
from luthier.types.job_options import IMPORTED_FROM
from luthier.types.names import SUFFIX, fine_tuned_name

_MAX_METADATA = 512  # characters of a metadata value, as in OpenAI's API


def import_adapter(
    folder: Path, base: str, store: Store, catalogue: Catalogue, organization: str, suffix: str | None
) -> str:
    """Imports the adapter in `folder` and returns the name of the new model.

    `base` is the catalogue's name of the base model that the adapter was trained on.

    Raises:
        ExportError: The adapter cannot be served.
        BaseModelError: The base model is not on this machine, or cannot be read.
    """
    _check_name(suffix)
    base_folder = catalogue.folder(base)
    adapter = _read(folder, base_folder)
    template = folder / TEMPLATE
    renderer = Renderer(base_folder, template if template.is_file() else None)
    job_id, root = new_id("ftjob-"), Path(base).name if Path(base).is_absolute() else base
    name = fine_tuned_name(root, organization, suffix)
    job = {"id": job_id, "status": "succeeded", "model": root, "fine_tuned_model": name}
    times = {"created_at": now(), "finished_at": now()}
    store.imports().add_job({**job, **times}, [], [], {IMPORTED_FROM: folder.name[:_MAX_METADATA]})
    staging = store.job_folder(job_id) / "imported"
    staging.mkdir()
    shutil.copyfile(folder / WEIGHTS, staging / WEIGHTS)
    config = {**adapter.config, "base_model_name_or_path": base, "inference_mode": True}
    (staging / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    (staging / TEMPLATE).write_text(renderer.template.text, encoding="utf-8")
    AdapterMetadata().write(staging)
    store.models.add_imported(store.jobs.get(job_id), name=name, base=base, source=staging)
    return name


def _read(folder: Path, base: Path) -> Adapter:
    """The adapter in `folder` for the model in `base`. Raises ExportError if it cannot be served."""
    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        pickles = sorted(path.name for suffix in ("*.bin", "*.pt", "*.pth") for path in folder.glob(suffix))
        if pickles:
            raise ExportError(
                say(
                    f"{folder.name} has its weights only as {pickles[0]}, a pickle, which can run code when it is "
                    "loaded and is therefore never opened. Save the adapter as safetensors.",
                    f"{folder.name} 的权重只有 pickle 文件 {pickles[0]}，加载时可能执行代码，因此从不打开。"
                    "请把适配器保存为 safetensors。",
                )
            )
        raise ExportError(
            say(f"{folder.name} is not a PEFT adapter: it needs {CONFIG} and {WEIGHTS}.",
                f"{folder.name} 不是 PEFT 适配器：需要 {CONFIG} 和 {WEIGHTS}。"))  # fmt: skip
    adapter = Adapter(folder)
    outside = [layer for layer in adapter if ".layers." not in f".{layer}"]
    if outside:
        raise ExportError(
            say(f"{folder.name} changes {', '.join(outside)}; engines serve adapters of the decoder layers only.",
                f"{folder.name} 改变了 {', '.join(outside)}；推理引擎只支持解码层上的适配器。"))  # fmt: skip
    MergedWeights(base, adapter)  # raises for an adapter of another base
    return adapter


def _check_name(suffix: str | None) -> None:
    if suffix is not None and not SUFFIX.fullmatch(suffix):
        raise ExportError(
            say(f"'{suffix}' cannot be part of a model's name: letters, digits, '.', '_' and '-' only, at most 64.",
                f"“{suffix}”不能用在模型名中：只能用字母、数字、“.”、“_”、“-”，最多 64 个字符。"))  # fmt: skip
