"""This machine's CPU and memory, as training and serving use them."""

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Of versions 2 and 1: folder, files with the limit and the use, and the part of the use that is page cache.
_MEMORY_CONTROLLERS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int:
    """Bytes of the machine's memory that programs may take now; where the system does not tell, half of all."""
    try:
        match = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        match = None
    free = int(match[1]) * 1024 if match else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min([free, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Bytes that the limits of this process's control groups leave, as in a container; page cache can be dropped."""
    for name, limit, used, cache in _MEMORY_CONTROLLERS:
        folder = _CONTROL_GROUPS / name
        try:
            limit_bytes, used_bytes = ((folder / file).read_text(encoding="ascii").strip() for file in (limit, used))
            lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            continue
        cache_bytes = sum(int(value) for key, _, value in (line.partition(" ") for line in lines) if key == cache)
        if limit_bytes.isdecimal():  # "max" is no limit
            yield max(0, int(limit_bytes) - int(used_bytes) + cache_bytes)


class CpuTier(NamedTuple):
    """What matrix products of a CPU run on.

    `name`: as LUTHIER_CPU_TIER names it; `features`: what it needs, as Linux names them; `onednn`, `aten`, `mkl`: the
    values of ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY and MKL_ENABLE_INSTRUCTIONS that hold oneDNN, PyTorch and MKL to
    it, None for their best.
    """

    name: str
    title: str
    features: frozenset[str]
    onednn: str | None
    aten: str | None
    mkl: str | None


_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_AVX512_BF16 = _AVX512 | {"avx512_bf16", "avx512_vnni"}
_AVX2_BF16 = frozenset({"avx_vnni", "avx_vnni_int8", "avx_ne_convert"})
_CPU_TIERS = (  # the fastest first
    CpuTier("amx", "AMX", _AVX512_BF16 | {"amx_bf16", "amx_tile"}, None, None, None),
    CpuTier("avx512-bf16", "AVX-512 bf16", _AVX512_BF16, "AVX512_CORE_BF16", "avx512", "AVX512"),
    CpuTier("avx512-vnni", "AVX-512 VNNI", _AVX512 | {"avx512_vnni"}, "AVX512_CORE_VNNI", "avx512", "AVX512"),
    CpuTier("avx512", "AVX-512", _AVX512, "AVX512_CORE", "avx512", "AVX512"),
    CpuTier("avx2-vnni", "AVX2 VNNI", _AVX2 | {"avx_vnni"}, "AVX2_VNNI", "avx2", "AVX2"),
    CpuTier("avx2", "AVX2", _AVX2, "AVX2", "avx2", "AVX2"),
    CpuTier("neon", "NEON", frozenset({"asimd"}), None, None, None),
    CpuTier("baseline", platform.machine(), frozenset(), "SSE41", "default", "SSE4_2"),
)
CPU_TIER_VARIABLE = "LUTHIER_CPU_TIER"
_HELD_DOWN_BY = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")


class UnknownTierError(ValueError):
    """LUTHIER_CPU_TIER names no tier of this CPU."""

    def __init__(self, limit: str, tiers: list[str]) -> None:
        self.limit, self.tiers = limit, ", ".join(tiers)
        super().__init__(f"{CPU_TIER_VARIABLE}={limit}: the tiers of this CPU are {self.tiers}")


def cpu_features() -> frozenset[str]:
    """As Linux names them; empty on other systems."""
    try:
        return frozenset(re.findall(r"\S+", Path("/proc/cpuinfo").read_text(encoding="utf-8")))
    except OSError:
        return frozenset()


def cpu_description() -> list[str]:
    """Model and features of the CPU, the same at every call; on other systems than Linux what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})


def cpu_tiers() -> list[CpuTier]:
    """The tiers that this CPU has and LUTHIER_CPU_TIER allows, the fastest first.

    Raises UnknownTierError when the variable names another tier.
    """
    features, limit = cpu_features(), os.environ.get(CPU_TIER_VARIABLE)
    tiers = [tier for tier in _CPU_TIERS if tier.features <= features]
    names = [tier.name for tier in tiers]
    if not limit:
        return tiers
    if limit not in names:
        raise UnknownTierError(limit, names)
    return tiers[names.index(limit) :]


def cpu_tier() -> str:
    """The tier that matrix products run on, and environment variables that hold libraries below it."""
    limits = [f"{name}={os.environ[name]}" for name in _HELD_DOWN_BY if name in os.environ]
    return " ".join([cpu_tiers()[0].title, *limits])


def hold_libraries_to_tier() -> None:
    """With LUTHIER_CPU_TIER, oneDNN, PyTorch and MKL stay on that tier too; before they first compute.

    This process and those that it starts. MKL heeds its variable on CPUs by Intel; OpenBLAS has no such switch.
    """
    if CPU_TIER_VARIABLE not in os.environ:
        return
    tier = cpu_tiers()[0]
    for name, value in zip(_HELD_DOWN_BY, (tier.onednn, tier.aten, tier.mkl), strict=True):
        if value:
            os.environ.setdefault(name, value)


def has_bfloat16() -> bool | None:
    """Whether oneDNN computes in bfloat16 on this CPU, by its own rule but without it. None where only it can tell."""
    features, limit = cpu_features(), os.environ.get("ONEDNN_MAX_CPU_ISA")
    tier = cpu_tiers()[0]
    if not features or limit not in (None, tier.onednn):
        return None
    if "asimd" in features:
        return "bf16" in features
    return tier.features >= _AVX512 or (limit is None and features >= _AVX2_BF16)


def compute_threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS, else as many as this process may use cores."""
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if stated.isdecimal() and int(stated):
        return int(stated)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return len({_siblings(cpu) for cpu in cpus})


def _siblings(cpu: int) -> str:
    """The CPUs that share a core with this one, as Linux lists them; itself on other systems."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def limit_spinning() -> None:
    """Threads that wait at a barrier of GCC's OpenMP sleep after some 50 microseconds; before anything that uses it is
    loaded: torch or a compiled library.

    By itself it spins for milliseconds. Beside other programs the thread that is waited for may not be running, and
    spinning takes the core from it. An environment that says how to wait is left as it is.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def is_transient(error: BaseException) -> bool:
    """Whether the machine caused the error, and a retry may succeed: a full disk, no memory."""
    out_of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # PyTorch's words
    return isinstance(error, OSError | MemoryError) or (isinstance(error, RuntimeError) and out_of_memory)


def keep_freed_memory() -> None:
    """From now on glibc keeps freed memory until `release_memory`; before the first tensor.

    By itself it would map large blocks anew for each tensor, and the system would zero them each time. Setting its
    threshold for that is not enough: the largest that it takes is 32 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_TRIM_THRESHOLD, 2**31 - 1), (_MMAP_MAX, 0), (_ARENA_MAX, 1)):
            mallopt(option, value)


def release_memory() -> None:
    """Returns freed memory to the system: glibc keeps it for later, where it rarely fits, and it would pile up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
