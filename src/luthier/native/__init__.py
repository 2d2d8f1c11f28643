"""Compiles C++ kernels on the machine that runs them, once, in a few seconds; and passes tensors to them.

A library is compiled for a CPU tier, or for the CPU of this machine, and lies in the cache folder under a fingerprint
of sources, flags, compiler and CPU. A wheel may carry libraries that were compiled before, one for each tier, with the
OpenMP runtime that they need (`prebuild`). `simd.h`, `avx512.h` and `amx.h` are headers that several rooms include.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.hardware import CPU_TIER_VARIABLE, cpu_description, cpu_tiers, limit_spinning

_HEADERS = tuple(Path(__file__).with_name(name) for name in ("simd.h", "avx512.h", "amx.h"))
_FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
_TIER_FLAGS = {  # of the tiers of `hardware`
    "amx": ("-march=x86-64-v4", "-mavx512bf16", "-mavx512vnni", "-mamx-tile", "-mamx-bf16"),
    "avx512-bf16": ("-march=x86-64-v4", "-mavx512bf16", "-mavx512vnni"),
    "avx512-vnni": ("-march=x86-64-v4", "-mavx512vnni"),
    "avx512": ("-march=x86-64-v4",),
    "avx2-vnni": ("-march=x86-64-v3", "-mavxvnni"),
    "avx2": ("-march=x86-64-v3",),
    "neon": (),
    "baseline": (),
}
PREBUILT = Path(__file__).with_name("prebuilt")  # a folder that only such wheels have
_OPENMP = "libgomp.so.1"
_COMPILER_S = 1800.0  # a busy machine may keep it waiting; later it counts as one that does not work
NO_COMPILER = "No working C++ compiler with OpenMP was found (g++ or clang++)"
_log = logging.getLogger(__name__)


def load_library(cache: Path, source: Path, *headers: Path, tier: str | None = None) -> ctypes.CDLL | None:
    """The library of `source`, compiled into `cache`/kernels unless it is there; `headers`: what it includes.

    `tier`: of `hardware`; None: LUTHIER_CPU_TIER, else all that this CPU has. A prebuilt library is taken where there
    is one. None without a compiler that has OpenMP; the log says why a compiler that was found failed. Its threads
    spin briefly at barriers, unless the process has loaded GCC's OpenMP before.
    """
    limit_spinning()
    tier = tier or os.environ.get(CPU_TIER_VARIABLE)
    library = _load_prebuilt(source, [tier] if tier else [candidate.name for candidate in cpu_tiers()])
    compiler = None if library else _find_compiler()
    if compiler is None:
        return library
    flags = (*_FLAGS, *(_TIER_FLAGS[tier] if tier else ("-march=native",)))
    try:
        path = cache / "kernels" / f"{_fingerprint(compiler, flags, (source, *headers, *_HEADERS))}.so"
        if not path.exists():
            _compile(compiler, flags, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        _log.warning("%s cannot be compiled: %s %s", source.name, error, output.decode(errors="replace")[-2000:])
        return None


def prebuild(sources: Sequence[Path], folder: Path) -> None:
    """Compiles each of `sources` into `folder` for every tier of this machine's architecture.

    Raises RuntimeError without a compiler, CalledProcessError.
    """
    compiler = _find_compiler()
    if compiler is None:
        raise RuntimeError(NO_COMPILER)
    tiers = [name for name in _TIER_FLAGS if name != "neon"] if platform.machine() == "x86_64" else ("neon",)
    link = ("-static-libgcc", "-static-libstdc++", "-Wl,-rpath,$ORIGIN")
    for source in sources:
        for tier in tiers:
            _compile(compiler, (*_FLAGS, *_TIER_FLAGS[tier], *link), source, folder / _prebuilt_name(source, tier))
    runtime = subprocess.run([compiler, f"-print-file-name={_OPENMP}"], check=True, capture_output=True, text=True)
    shutil.copyfile(runtime.stdout.strip(), folder / _OPENMP)


def _load_prebuilt(source: Path, tiers: Sequence[str]) -> ctypes.CDLL | None:
    """For the first of `tiers` that there is one for. One that cannot be loaded here is logged."""
    path = next(filter(Path.exists, (PREBUILT / _prebuilt_name(source, tier) for tier in tiers)), None)
    try:
        return ctypes.CDLL(str(path)) if path else None
    except OSError as error:
        _log.warning("%s cannot be loaded: %s", path, error)
        return None


def _prebuilt_name(source: Path, tier: str) -> str:
    return f"{source.stem}-{tier}.so"


def _find_compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def has_amx(library: ctypes.CDLL | None) -> bool:
    """Whether the CPU has AMX with bfloat16 (`amx.h`) and the operating system grants it to this process."""
    return library is not None and bool(library.luthier_has_amx())


def argument(value: Any) -> ctypes.c_void_p | ctypes.c_float | ctypes.c_int64:
    """A C argument: a tensor or an array as the address of its data, None as the null pointer."""
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value is None:
        return ctypes.c_void_p(0)
    return ctypes.c_void_p(value.data_ptr() if hasattr(value, "data_ptr") else value.ctypes.data)


def _compile(compiler: str, flags: tuple[str, ...], source: Path, path: Path) -> None:
    """Writes the library to `path` by an atomic rename: several processes may compile it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        library = Path(scratch) / path.name
        command = [compiler, *flags, f"-I{_HEADERS[0].parent}", str(source), "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, timeout=_COMPILER_S)
        library.replace(path)


def _fingerprint(compiler: str, flags: tuple[str, ...], sources: tuple[Path, ...]) -> str:
    """A hash of everything that the library depends on: unlike machines may share a cache folder."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=_COMPILER_S).stdout
    texts = [path.read_bytes() for path in sources]
    return hashlib.sha256(repr((texts, flags, version, cpu_description())).encode()).hexdigest()[:16]
