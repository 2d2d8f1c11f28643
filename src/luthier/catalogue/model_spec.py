"""What a person writes after `luthier models pull`, read: a hub's id, a folder, a GGUF file or an entry.

Knows nothing about what lies there.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.language import say
from luthier.types.errors import BaseModelError

Hub = Literal["huggingface", "modelscope"]
_HUBS: dict[str, Hub] = {"hf": "huggingface", "huggingface": "huggingface", "modelscope": "modelscope"}
_ID = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(?:/(?P<file>(?:\w[\w.-]*/)*\w[\w.-]*\.gguf))?", re.ASCII)
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class HubModel:
    """`file`: the one GGUF file of a repository that is meant; None: its safetensors."""

    hub: Hub
    id: str
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.hub}:{self.id}" + (f"/{self.file}" if self.file else "")


def read(text: str) -> Path | HubModel:
    """A path where there is one, else an id of a hub (`modelscope:org/name`, `org/name`, `org/name/FILE.gguf`).

    Raises BaseModelError.
    """
    path = Path(text).expanduser()
    if path.exists():
        return path.resolve()
    if text.startswith(("/", "./", "../", "~")):
        raise BaseModelError(say(f"There is no file or folder {path}.", f"没有 {path} 这个文件或文件夹。"))
    prefix, _, rest = text.rpartition(":")
    found = _ID.fullmatch(rest)
    if not found or (prefix and prefix not in _HUBS):
        raise BaseModelError(
            say(
                f"'{text}' is neither a path nor the id of a model. Ids look like Qwen/Qwen3-0.6B, "
                "modelscope:Qwen/Qwen3-0.6B or Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf.",
                f"“{text}”既不是路径，也不是模型编号。编号的写法：Qwen/Qwen3-0.6B、modelscope:Qwen/Qwen3-0.6B、"
                "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf。",
            )
        )
    return HubModel(_HUBS[prefix or "hf"], found["id"], found["file"])


def default_name(source: Path | HubModel) -> str:
    """What requests call it unless a person says otherwise: the hub's id, or the file's or folder's own name."""
    if isinstance(source, HubModel):
        return Path(source.file).stem if source.file else source.id
    return source.stem if source.suffix == ".gguf" else source.name


def check_name(name: str) -> None:
    """Raises BaseModelError for what could not stand in the names of fine-tuned models."""
    if not _NAME.fullmatch(name):
        raise BaseModelError(
            say(
                f"'{name}' cannot be a model's name: it takes letters, digits, '.', '_', '-' and one '/'. "
                "Choose one with --name.",
                f"“{name}”不能作模型名：只能用字母、数字、“.”、“_”、“-”和一个“/”。请用 --name 另取一个。",
            )
        )
