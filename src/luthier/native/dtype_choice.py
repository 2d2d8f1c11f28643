"""The dtype of a base's weights and matrix products in PyTorch, for training and for serving.

Where the setting `precision` is `auto`, a CPU computes in the dtype in which it multiplies faster. Without AMX that may
be float32, by several times: on plain AVX-512 oneDNN emulates bfloat16. torch is imported when it is measured.
"""

import os
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from luthier.devices import DeviceName, Precision, select_device
from luthier.hardware import cpu_tiers
from luthier.native.cached_measurement import cached_measurement, read_measurement
from luthier.weights import count_parameters

WORTHWHILE_SPEEDUP = 0.8  # from which bfloat16 is taken: float32 needs twice the memory
_MEMORY_SHARE = 4  # a base in float32 may take one part of so many of the machine's memory
_FLOAT32_BYTES = 4
_MEASUREMENT = "bf16-training-speedup"

Reason = Literal["setting", "hardware", "memory", "measured", "unmeasured"]


class DtypeChoice(NamedTuple):
    """`reason`: of the dtype.

    `setting`: precision is not `auto`. `hardware`: device or CPU tier leave no choice. `memory`: in float32 the base
    would take too much. `measured`: PyTorch multiplies in bfloat16 `bf16_speedup` times as fast as in float32 on this
    CPU. `unmeasured`: nothing has computed with PyTorch here yet, and bfloat16 is assumed.
    """

    device: DeviceName
    dtype: Precision
    reason: Reason
    bf16_speedup: float | None = None


def choose_dtype(base: Path, device: str, precision: str, cache: Path) -> DtypeChoice:
    """The choice for a base's folder, from the settings of these names; measures if nobody has. Raises BaseModelError.

    A base that would take much of the memory in float32 stays in bfloat16.
    """
    choice = known_dtype(base, device, precision, cache)
    if choice.reason != "unmeasured":
        return choice
    return _by_speed(choice.device, cached_measurement(cache, _MEASUREMENT, _bf16_speedup))


def known_dtype(base: Path | None, device: str, precision: str, cache: Path) -> DtypeChoice:
    """As `choose_dtype`, without measuring; `base` None: one that fits. Raises BaseModelError."""
    name, dtype = select_device(device, precision)
    if precision != "auto":
        return DtypeChoice(name, dtype, "setting")
    if name != "cpu" or dtype == "float32" or cpu_tiers()[0].name == "amx":
        return DtypeChoice(name, dtype, "hardware")
    if base is not None and _FLOAT32_BYTES * count_parameters(base) > _memory_bytes() // _MEMORY_SHARE:
        return DtypeChoice(name, dtype, "memory")
    speedup = read_measurement(cache, _MEASUREMENT)
    return DtypeChoice(name, dtype, "unmeasured") if speedup is None else _by_speed(name, speedup)


def _by_speed(device: DeviceName, bf16_speedup: float) -> DtypeChoice:
    dtype: Precision = "bfloat16" if bf16_speedup >= WORTHWHILE_SPEEDUP else "float32"
    return DtypeChoice(device, dtype, "measured", bf16_speedup)


def _memory_bytes() -> int:
    """Of the machine: what is free changes from run to run."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bf16_speedup() -> float:
    """How many times as fast as in float32 PyTorch multiplies in bfloat16, on one thread of this CPU."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    float32_s, bfloat16_s = (_product_s(torch, dtype) for dtype in (torch.float32, torch.bfloat16))
    torch.set_num_threads(threads)
    return float32_s / bfloat16_s


def _product_s(torch: Any, dtype: Any) -> float:
    """CPU seconds of a product of the size of those in training, at the best of several tries."""
    x, weight = torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        started = time.thread_time()
        x @ weight.T
        best = min(best, time.thread_time() - started)
    return best
