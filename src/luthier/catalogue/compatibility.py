"""Whether a model folder is one that can be trained and served here, told before its weights are fetched.

Reads config.json and the tokenizer's files; never the weights, and never code.
"""

import json
import re
from pathlib import Path
from typing import Any

from luthier.data.rendering.renderer import Renderer
from luthier.language import say
from luthier.types.errors import BaseModelError

_PART = re.compile(r"[\w.-]+\.safetensors", re.ASCII)  # beside the index, and no pickle


def check_config(path: Path, name: str) -> str:
    """The architecture. Raises BaseModelError for one that nothing here computes."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(
            say(f"{name} has no readable config.json: {error}", f"{name} 没有可读的 config.json：{error}")
        ) from error
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if known is None:
        needs_code = say(
            " It brings code of its own, which is never run here." if "auto_map" in config else "",
            "它自带代码，而这里从不运行模型自带的代码。" if "auto_map" in config else "",
        )
        raise BaseModelError(
            say(
                f"{name} is of the kind '{kind}', which the installed transformers does not know as a language model."
                f"{needs_code} Choose another base, or a newer transformers.",
                f"{name} 属于“{kind}”，当前安装的 transformers 不支持这种语言模型。{needs_code}"
                "请换一个基座模型，或升级 transformers。",
            )
        )
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method:
        raise BaseModelError(
            say(
                f"{name} is quantised ({method}), which cannot be trained here. Pull the original, or its GGUF file.",
                f"{name} 是量化模型（{method}），无法在这里训练。请获取原始模型，或它的 GGUF 文件。",
            )
        )
    return known if isinstance(known, str) else known[0]


def check_folder(folder: Path, name: str) -> str:
    """The architecture of a folder with everything but, perhaps, weights. Raises BaseModelError."""
    architecture = check_config(folder / "config.json", name)
    if not (folder / "tokenizer.json").is_file():
        raise BaseModelError(
            say(
                f"{name} has no tokenizer.json. Load its tokenizer once with transformers, save_pretrained() it, and "
                "pull that folder with the weights.",
                f"{name} 没有 tokenizer.json。请先用 transformers 加载它的分词器并 save_pretrained()，"
                "与权重放在同一文件夹后再获取。",
            )
        )
    Renderer(folder)  # raises where its tokenizer or template cannot be read
    return architecture


def has_weights(folder: Path) -> bool:
    """safetensors, whole or with every part that their index names."""
    if (folder / "model.safetensors").is_file():
        return True
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        parts = set(index["weight_map"].values())
        return bool(parts) and all(_PART.fullmatch(part) and (folder / part).is_file() for part in parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
