"""The device and dtype that `auto` selects on this machine, and its memory.

Shared by training and serving, so that both compute alike. Imports torch only when a function needs it.
"""

import ctypes
import os
import platform
import re
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]
Precision = Literal["bfloat16", "float32"]


def select_hardware(device: str, precision: str) -> tuple[Device, Precision]:
    """(device, dtype of the base weights). `auto` selects a GPU if there is one, and bfloat16 if it is fast."""
    import torch

    selected: Device = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    if precision != "auto":
        return selected, "float32" if precision == "float32" else "bfloat16"
    fast = torch.cuda.is_bf16_supported() if selected == "cuda" else _cpu_supports_bfloat16()
    return selected, "bfloat16" if fast else "float32"


def _cpu_supports_bfloat16() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def available_memory() -> int:
    """Bytes of the machine's memory that programs may take now; where the system does not tell, half of all."""
    try:
        match = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        match = None
    return int(match[1]) * 1024 if match else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


# What matrix products of a CPU run on, the fastest first: features as Linux names them, and the name.
_CPU_TIERS = (
    ({"amx_bf16", "amx_tile"}, "AMX"),
    ({"avx512_bf16"}, "AVX-512 bf16"),
    ({"avx512f"}, "AVX-512"),
    ({"avx2"}, "AVX2"),
    ({"asimd"}, "NEON"),
)
_HELD_DOWN_BY = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def cpu_features() -> frozenset[str]:
    """As Linux names them; empty on other systems."""
    try:
        return frozenset(re.findall(r"\S+", Path("/proc/cpuinfo").read_text(encoding="utf-8")))
    except OSError:
        return frozenset()


def cpu_tier() -> str:
    """The instruction set that matrix products run on, and environment variables that hold libraries below it."""
    features = cpu_features()
    tier = next((name for needed, name in _CPU_TIERS if needed <= features), platform.machine())
    limits = [f"{name}={os.environ[name]}" for name in _HELD_DOWN_BY if name in os.environ]
    return " ".join([tier, *limits])


def limit_spinning() -> None:
    """Threads that wait at a barrier of GCC's OpenMP sleep after some 50 microseconds; before torch is imported.

    By itself it spins for milliseconds. Beside other programs the thread that is waited for may not be running, and
    spinning takes the core from it. An environment that says how to wait is left as it is.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def is_transient(error: BaseException) -> bool:
    """Whether the machine caused the error, and a retry may succeed: a full disk, no memory."""
    out_of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # PyTorch's words
    return isinstance(error, OSError | MemoryError) or (isinstance(error, RuntimeError) and out_of_memory)


def release_memory() -> None:
    """Returns freed memory to the system: glibc keeps it for later, where it rarely fits, and it would pile up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
