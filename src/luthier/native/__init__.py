"""C++ compiled on this machine, once, in a few seconds, into the cache folder; and how Python passes things to it.

`vectors.h` and `unit.h` are what sources of several rooms include. Knows nothing of what is computed.
"""

import ctypes
import hashlib
import logging
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from luthier.settings import Settings

_SHARED = tuple(Path(__file__).with_name(name) for name in ("vectors.h", "unit.h"))
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
NO_COMPILER = "No C++ compiler with OpenMP was found that works (g++ or clang++)"
_log = logging.getLogger(__name__)


def library(source: Path, *included: Path) -> ctypes.CDLL | None:
    """The compiled `source`, which includes others; None without a compiler that knows OpenMP, and the log says why."""
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if compiler is None:
        return None
    try:
        path = Settings().cache / "kernels" / f"{_fingerprint(compiler, (source, *included, *_SHARED))}.so"
        if not path.exists():
            _compile(compiler, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        _log.warning("%s cannot be compiled: %s %s", source.name, error, said.decode(errors="replace")[-2000:])
        return None


def has_matrix_unit(found: ctypes.CDLL | None) -> bool:
    """Whether the processor has the unit of `unit.h`, and the system grants it."""
    return found is not None and bool(found.luthier_has_matrix_unit())


def passed(value: Any) -> ctypes.c_void_p | ctypes.c_float | ctypes.c_int64:
    """Tensors and arrays as the address of their numbers, None as no address."""
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value is None:
        return ctypes.c_void_p(0)
    return ctypes.c_void_p(value.data_ptr() if hasattr(value, "data_ptr") else value.ctypes.data)


def _compile(compiler: str, source: Path, path: Path) -> None:
    """The file appears whole or not at all; several programs may compile it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        command = [compiler, *_FLAGS, f"-I{_SHARED[0].parent}", str(source), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        made.replace(path)


def _fingerprint(compiler: str, sources: tuple[Path, ...]) -> str:
    """Of all that decides what the file holds; a cache folder may be shared by unlike machines."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=20).stdout
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    read = [path.read_bytes() for path in sources]
    return hashlib.sha256(repr((read, _FLAGS, version, features)).encode()).hexdigest()[:16]
