"""The SOURCE of `luthier models pull`: a hub id, a folder or a GGUF file, parsed without opening it."""

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
    """A model on a hub. `file`: one GGUF file of its repository; None: its safetensors."""

    hub: Hub
    id: str
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.hub}:{self.id}" + (f"/{self.file}" if self.file else "")


def parse(text: str) -> Path | HubModel:
    """An existing path, else a hub id (`modelscope:org/name`, `org/name`, `org/name/FILE.gguf`).

    Raises BaseModelError.
    """
    path = Path(text).expanduser()
    if path.exists():
        return path.resolve()
    if text.startswith(("/", "./", "../", "~")):
        raise BaseModelError(say(f"There is no file or folder {path}.", f"没有 {path} 这个文件或文件夹。"))
    prefix, _, rest = text.rpartition(":")
    match = _ID.fullmatch(rest)
    if not match or (prefix and prefix not in _HUBS):
        raise BaseModelError(
            say(
                f"'{text}' is neither a path nor the id of a model. An id looks like Qwen/Qwen3-0.6B, "
                "modelscope:Qwen/Qwen3-0.6B or Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf.",
                f"“{text}”既不是路径，也不是模型编号。编号的写法：Qwen/Qwen3-0.6B、modelscope:Qwen/Qwen3-0.6B、"
                "Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf。",
            )
        )
    return HubModel(_HUBS[prefix or "hf"], match["id"], match["file"])


def default_name(source: Path | HubModel) -> str:
    """The name in requests unless --name sets another: the hub id, or the name of the file or folder."""
    if isinstance(source, HubModel):
        return Path(source.file).stem if source.file else source.id
    return source.stem if source.suffix == ".gguf" else source.name


def check_name(name: str) -> None:
    """Raises BaseModelError for a name that names of fine-tuned models could not contain."""
    if not _NAME.fullmatch(name):
        raise BaseModelError(
            say(
                f"'{name}' cannot be a model's name: only letters, digits, '.', '_', '-' and one '/' are allowed. "
                "Choose one with --name.",
                f"“{name}”不能作模型名：只能用字母、数字、“.”、“_”、“-”和一个“/”。请用 --name 另取一个。",
            )
        )
