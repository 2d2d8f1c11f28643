"""Whether a model folder can be trained and served here, checked before its weights are fetched.

Reads config.json and the tokenizer files; never weights or code.
"""

import json
import re
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from luthier.arch.model_config import load_config
from luthier.base_config import read_config
from luthier.data.rendering.renderer import Renderer
from luthier.language import say
from luthier.types.errors import BaseModelError

_SHARD = re.compile(r"[\w.-]+\.safetensors", re.ASCII)  # in the same folder as the index, and not a pickle


def check_config(path: Path, name: str) -> str:
    """The architecture of a config.json's text model. Raises BaseModelError if it is not supported."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        model_type = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BaseModelError(
            say(f"{name} has no readable config.json: {error}", f"{name} 没有可读的 config.json：{error}")
        ) from error
    if isinstance(config.get("text_config"), dict):
        return _check_text_model(path, name, model_type)
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if architecture is None:
        custom_code = say(
            " It comes with code of its own, which is never run here." if "auto_map" in config else "",
            "它自带代码，而这里从不运行模型自带的代码。" if "auto_map" in config else "",
        )
        raise BaseModelError(
            say(
                f"{name} has the model type '{model_type}', which the installed transformers does not support as a "
                f"language model.{custom_code} Choose another base model, or a newer transformers.",
                f"{name} 的模型类型是“{model_type}”，当前安装的 transformers 不支持这种语言模型。{custom_code}"
                "请换一个基座模型，或升级 transformers。",
            )
        )
    _refuse_quantised(config, name)
    return architecture if isinstance(architecture, str) else architecture[0]


def _check_text_model(path: Path, name: str, model_type: str) -> str:
    """As `check_config`, for a checkpoint with several towers, such as vision, which is used for text."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = read_config(path.parent)
    text_type = load_config(path.parent).model_type if model_type in CONFIG_MAPPING_NAMES else None
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text_type)
    if architecture is None:
        raise BaseModelError(
            say(
                f"{name} contains a text model beside other parts, such as vision (model type '{model_type}'), and the "
                "installed transformers cannot load the text model alone. Choose its text-only edition, another base "
                "model, or a newer transformers.",
                f"{name} 除文本模型外还有视觉等其他部分（模型类型“{model_type}”），"
                "当前安装的 transformers 无法单独加载其中的文本模型。请换用它的纯文本版本、另一个基座模型，"
                "或升级 transformers。",
            )
        )
    _refuse_quantised(config | config["text_config"], name)
    return architecture if isinstance(architecture, str) else architecture[0]


def _refuse_quantised(config: Mapping[str, Any], name: str) -> None:
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method:
        raise BaseModelError(
            say(
                f"{name} is quantized ({method}) and cannot be trained here. Pull the original, or its GGUF file.",
                f"{name} 是量化模型（{method}），无法在这里训练。请获取原始模型，或它的 GGUF 文件。",
            )
        )


def check_folder(folder: Path, name: str) -> str:
    """The architecture of a model folder, which may still lack its weights. Raises BaseModelError."""
    architecture = check_config(folder / "config.json", name)
    if (folder / "adapter_config.json").exists():  # which transformers would apply to the base unasked
        raise BaseModelError(
            say(
                f"{name} contains an adapter beside the base model. Remove adapter_config.json, or pull the base model "
                "alone.",
                f"{name} 中除了基座模型还有适配器。请删除 adapter_config.json，或指定单独的基座模型。",
            )
        )
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            say(
                f"{name} has no tokenizer.json. Load its tokenizer with transformers, save it beside the weights with "
                "save_pretrained(), and pull that folder.",
                f"{name} 没有 tokenizer.json。请先用 transformers 加载它的分词器并 save_pretrained()，"
                "与权重放在同一文件夹后再获取。",
            )
        )
    Renderer(folder)  # raises if its tokenizer or chat template cannot be loaded
    _check_cache(architecture, name)
    return architecture


def _check_cache(architecture: str, name: str) -> None:
    """Raises BaseModelError for a model whose state no engine can store, such as pure Mamba models."""
    import transformers

    if "past_key_values" not in signature(getattr(transformers, architecture).forward).parameters:
        raise BaseModelError(
            say(
                f"{name} is a {architecture}, and no engine here can keep its state between tokens. Choose another "
                "base model, such as a hybrid with attention.",
                f"{name} 是 {architecture}，这里没有引擎能在生成之间保存它的状态。"
                "请换一个基座模型，例如带注意力层的混合模型。",
            )
        )


def has_weights(folder: Path) -> bool:
    """Whether the folder has model.safetensors, or an index and every shard that it names."""
    if (folder / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        shards = set(index["weight_map"].values())
        return bool(shards) and all(_SHARD.fullmatch(shard) and (folder / shard).is_file() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
