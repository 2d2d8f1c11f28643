"""`kernels.cpp` and what it includes, compiled on this machine: the same as `kernels`, `products` and `attention` in
less time.

Compiled once, in a few seconds, into the cache folder. Where there is no C++ compiler, or on a GPU, PyTorch computes.
Knows nothing of what it runs beyond how to pass it on.
"""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from luthier.settings import Settings

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.cpp", "tiles.h", "products.h", "head.h"))
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
MISSING = "No C++ compiler with OpenMP was found (g++ or clang++): training takes up to twice as long as with one"
_HALF = {torch.bfloat16: 1, torch.float32: 0}
MULTIPLE = 32  # of what the sizes of matrices must be, for the matrix unit


def takes(*tensors: torch.Tensor) -> bool:
    """Whether these can be passed on: rows one after the other, of one number format, in a processor's memory."""
    first = tensors[0]
    return (
        first.device.type == "cpu"
        and first.dtype in _HALF
        and all(tensor.dtype == first.dtype and tensor.stride(-1) == 1 for tensor in tensors)
        and library() is not None
    )


def multiplies(*tensors: torch.Tensor) -> bool:
    """Whether these matrices can be passed on to the processor's matrix unit; only numbers of rows may be odd."""
    return (
        takes(*tensors)
        and tensors[0].dtype == torch.bfloat16
        and all(one.is_contiguous() and one.shape[1] % MULTIPLE == 0 for one in tensors)
        and _has_matrix_unit()
    )


@lru_cache(maxsize=1)
def _has_matrix_unit() -> bool:
    found = library()
    return found is not None and bool(found.luthier_has_matrix_unit())


def call(name: str, like: torch.Tensor, *given: torch.Tensor | int | float) -> None:
    """Runs `luthier_NAME` for numbers as `like` has them, on as many threads as PyTorch uses."""
    function = getattr(library(), f"luthier_{name}")
    function(ctypes.c_int64(_HALF[like.dtype]), *map(_passed, given), ctypes.c_int64(torch.get_num_threads()))


def _passed(value: torch.Tensor | int | float) -> ctypes.c_void_p | ctypes.c_float | ctypes.c_int64:
    if isinstance(value, torch.Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """None without a compiler that knows OpenMP."""
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if compiler is None:
        return None
    path = Settings().cache / "kernels" / f"{_fingerprint(compiler)}.so"
    try:
        if not path.exists():
            _compile(compiler, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, path: Path) -> None:
    """The file appears whole or not at all; several trainers may compile it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        command = [compiler, *_FLAGS, str(_SOURCES[0]), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        made.replace(path)


def _fingerprint(compiler: str) -> str:
    """Of all that decides what the file holds; a cache folder may be shared by unlike machines."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=20).stdout
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    sources = [path.read_bytes() for path in _SOURCES]
    return hashlib.sha256(repr((sources, _FLAGS, version, features)).encode()).hexdigest()[:16]
