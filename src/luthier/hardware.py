"""The device and dtype that `auto` selects on this machine, and its memory.

Shared by training and serving, so that both compute alike. Imports torch only when a function needs it.
"""

import ctypes
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


def is_transient(error: BaseException) -> bool:
    """Whether the machine caused the error, and a retry may succeed: a full disk, no memory."""
    out_of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # PyTorch's words
    return isinstance(error, OSError | MemoryError) or (isinstance(error, RuntimeError) and out_of_memory)


def release_memory() -> None:
    """Returns freed memory to the system: glibc keeps it for later, where it rarely fits, and it would pile up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
