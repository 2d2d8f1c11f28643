"""The files of a repository that are fetched: safetensors, configuration, tokenizer, template; no pickles, no code."""

import re
from pathlib import Path

from luthier.catalogue.hubs import RemoteFile, Repository
from luthier.language import say
from luthier.types.errors import BaseModelError

_CONFIGURATION = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json"
    r"|added_tokens\.json|vocab\.json|merges\.txt|tokenizer\.model|chat_template\.(jinja|json)"
    r"|model\.safetensors\.index\.json|(LICENSE|NOTICE)[\w.-]*",
    re.ASCII,
)
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors", re.ASCII)
_PICKLES = re.compile(r".*\.(bin|pt|pth|ckpt|pkl)", re.ASCII)
_GGUF_SPLIT = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.ASCII)
_MOST_CONFIGURATION_BYTES = 256 * 1024**2


def reject_split_gguf(path: str) -> None:
    """Raises BaseModelError for one file of a split GGUF."""
    if _GGUF_SPLIT.search(path):
        name = Path(path).name
        raise BaseModelError(
            say(
                f"{name} is one part of a split GGUF file. Choose a file that is not split, or merge the parts first: "
                "llama-gguf-split --merge FIRST-PART MERGED.gguf",
                f"{name} 只是一个 GGUF 文件的一部分。请选择完整的文件，"
                "或先合并：llama-gguf-split --merge 第一部分 完整.gguf",
            )
        )


def select_files(repository: Repository) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """(configuration files, weight files). Raises BaseModelError if there are no weights to fetch."""
    model = repository.model
    if model.file:
        reject_split_gguf(model.file)
        weights = [file for file in repository.files if file.path == model.file]
        if weights:
            return [], weights
        raise BaseModelError(_no_such_file(repository))
    weights = [file for file in repository.files if _WEIGHTS.fullmatch(file.path)]
    single = [file for file in weights if file.path == "model.safetensors"]
    weights = single or weights  # a repository may have both one file and shards
    if not weights:
        raise BaseModelError(_no_safetensors(repository))
    configuration = [
        file
        for file in repository.files
        if _CONFIGURATION.fullmatch(file.path) and file.size_bytes < _MOST_CONFIGURATION_BYTES
    ]
    return configuration, weights


def _gguf_paths(repository: Repository) -> list[str]:
    paths = [file.path for file in repository.files if file.path.endswith(".gguf")]
    return [path for path in paths if not _GGUF_SPLIT.search(path)] or paths


def _pull_commands(repository: Repository) -> str:
    """One command per GGUF file, at most twelve."""
    prefix = "modelscope:" if repository.model.hub == "modelscope" else ""
    return "\n".join(
        f"  luthier models pull {prefix}{repository.model.id}/{path}" for path in _gguf_paths(repository)[:12]
    )


def _no_such_file(repository: Repository) -> str:
    model, name = repository.model, Path(repository.model.file or "").name
    if not _gguf_paths(repository):
        return say(f"{model.id} has no file {name}, and no GGUF file.", f"{model.id} 没有 {name}，也没有 GGUF 文件。")
    return say(
        f"{model.id} has no file {name}. It has:\n{_pull_commands(repository)}",
        f"{model.id} 没有 {name}。可选：\n{_pull_commands(repository)}",
    )


def _no_safetensors(repository: Repository) -> str:
    name = repository.model.id
    if _gguf_paths(repository):
        return say(
            f"{name} has only GGUF files; choose one (the largest is the most precise):\n{_pull_commands(repository)}",
            f"{name} 只有 GGUF 文件，请指明其中一个（越大越精确）：\n{_pull_commands(repository)}",
        )
    if any(_PICKLES.fullmatch(file.path) for file in repository.files):
        return say(
            f"{name} has its weights only as pickles (.bin, .pt), which can run code when loaded and are therefore "
            "never opened. Look for a repository of the model with safetensors.",
            f"{name} 的权重只有 pickle 格式（.bin、.pt），加载时可能执行代码，因此从不打开。"
            "请另找该模型带 safetensors 的仓库。",
        )
    return say(f"{name} has no model.safetensors.", f"{name} 没有 model.safetensors。")
