"""Which files of a repository are fetched: safetensors, JSON, tokenizers and templates; never pickles, never code."""

import re
from pathlib import Path

from luthier.catalogue.hubs import RemoteFile, Repository
from luthier.language import say
from luthier.types.errors import BaseModelError

_ABOUT = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json"
    r"|added_tokens\.json|vocab\.json|merges\.txt|tokenizer\.model|chat_template\.(jinja|json)"
    r"|model\.safetensors\.index\.json|(LICENSE|NOTICE)[\w.-]*",
    re.ASCII,
)
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors", re.ASCII)
_PICKLES = re.compile(r".*\.(bin|pt|pth|ckpt|pkl)", re.ASCII)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.ASCII)
_MOST_ABOUT_BYTES = 256 * 1024**2


def refuse_part(path: str) -> None:
    """Raises BaseModelError for one of several files that make up a GGUF."""
    if _PART.search(path):
        name = Path(path).name
        raise BaseModelError(
            say(
                f"{name} is a part of a GGUF file. Take one that is whole, or join the parts first: "
                "llama-gguf-split --merge FIRST-PART WHOLE.gguf",
                f"{name} 只是一个 GGUF 文件的一部分。请选择完整的文件，"
                "或先合并：llama-gguf-split --merge 第一部分 完整.gguf",
            )
        )


def files_of(repository: Repository) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """(what describes the model, its weights). Raises BaseModelError where there are no weights to fetch."""
    model = repository.model
    if model.file:
        refuse_part(model.file)
        weights = [file for file in repository.files if file.path == model.file]
        if weights:
            return [], weights
        raise BaseModelError(_no_such_file(repository))
    weights = [file for file in repository.files if _WEIGHTS.fullmatch(file.path)]
    parts = [file for file in weights if file.path != "model.safetensors"]
    if len(parts) < len(weights):  # whole, and perhaps in parts as well
        weights = [file for file in weights if file.path == "model.safetensors"]
    if not weights:
        raise BaseModelError(_no_safetensors(repository))
    about = [file for file in repository.files if _ABOUT.fullmatch(file.path) and file.size_bytes < _MOST_ABOUT_BYTES]
    return about, weights


def _ggufs(repository: Repository) -> list[str]:
    paths = [file.path for file in repository.files if file.path.endswith(".gguf")]
    return [path for path in paths if not _PART.search(path)] or paths


def _shown(repository: Repository) -> str:
    prefix = "modelscope:" if repository.model.hub == "modelscope" else ""
    return "\n".join(f"  luthier models pull {prefix}{repository.model.id}/{path}" for path in _ggufs(repository)[:12])


def _no_such_file(repository: Repository) -> str:
    model, name = repository.model, Path(repository.model.file or "").name
    if not _ggufs(repository):
        return say(f"{model.id} has no file {name}, and no GGUF file.", f"{model.id} 没有 {name}，也没有 GGUF 文件。")
    return say(
        f"{model.id} has no file {name}. It has:\n{_shown(repository)}",
        f"{model.id} 没有 {name}。可选：\n{_shown(repository)}",
    )


def _no_safetensors(repository: Repository) -> str:
    name = repository.model.id
    if _ggufs(repository):
        return say(
            f"{name} has GGUF files; name the one you mean (the largest is the most exact):\n{_shown(repository)}",
            f"{name} 只有 GGUF 文件，请指明其中一个（越大越精确）：\n{_shown(repository)}",
        )
    if any(_PICKLES.fullmatch(file.path) for file in repository.files):
        return say(
            f"{name} has its weights as pickles only (.bin, .pt), which run code when they are read and are never "
            "opened here. Look for a repository of the model with safetensors.",
            f"{name} 的权重只有 pickle 格式（.bin、.pt），读取时会执行代码，因此这里从不打开。"
            "请另找该模型带 safetensors 的仓库。",
        )
    return say(f"{name} has no model.safetensors.", f"{name} 没有 model.safetensors。")
