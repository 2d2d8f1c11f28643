"""What `auto` stands for on this machine: a device and the number format of the base weights. And its memory.

Asked by training and by serving, so that both compute alike. Imports torch only when it is asked.
"""

import ctypes
from typing import Literal

Device = Literal["cpu", "cuda"]
Precision = Literal["bfloat16", "float32"]


def choose(device: str, precision: str) -> tuple[Device, Precision]:
    """`auto` takes a GPU when there is one, and bfloat16 where the processor computes with it."""
    import torch

    chosen: Device = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    if precision != "auto":
        return chosen, "float32" if precision == "float32" else "bfloat16"
    fast = torch.cuda.is_bf16_supported() if chosen == "cuda" else _cpu_has_bfloat16()
    return chosen, "bfloat16" if fast else "float32"


def _cpu_has_bfloat16() -> bool:
    import torch

    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def may_pass(error: BaseException) -> bool:
    """Whether the machine is at fault, and trying again may help: a full disk, no memory."""
    out_of_memory = "out of memory" in str(error) or "can't allocate memory" in str(error)  # PyTorch's words
    return isinstance(error, OSError | MemoryError) or (isinstance(error, RuntimeError) and out_of_memory)


def give_back() -> None:
    """Memory that was freed, to the system: glibc keeps it for later, where it rarely fits, and it would pile up."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
