"""The devices that training and serving compute on: the CPU, NVIDIA's GPUs through CUDA, Apple's through MPS.

What differs between them, kernels aside, stands here and nowhere else. torch is imported when a function needs it.
"""

import ctypes
import resource
import sys
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from luthier.hardware import available_memory, cpu_tier, has_bfloat16, hold_libraries_to_tier

DeviceName = Literal["cpu", "cuda", "mps"]
Precision = Literal["bfloat16", "float32"]


class Device(Protocol):
    """`micro_batch_tokens`: of a micro-batch; larger ones are no faster.

    `sums`: the backend of torch.distributed that sums over processes.
    """

    micro_batch_tokens: int
    sums: Literal["gloo", "nccl"]

    def assign(self, local_rank: int) -> bool:
        """Gives this process, of those that train together, a device of its own; False where there is none left."""
        ...

    def is_available(self) -> bool: ...

    def has_fast_bfloat16(self) -> bool: ...

    def title(self) -> str:
        """As events and reports name it."""
        ...

    def free_bytes(self) -> int:
        """Memory that can be taken now."""
        ...

    def peak_bytes(self) -> int:
        """The most memory that this process has held there at once."""
        ...


class _Cpu:
    micro_batch_tokens = 3072
    sums: Literal["gloo", "nccl"] = "gloo"

    def assign(self, local_rank: int) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def has_fast_bfloat16(self) -> bool:
        is_fast = has_bfloat16()
        if is_fast is not None:
            return is_fast
        import torch

        if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return False
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def title(self) -> str:
        return f"CPU ({cpu_tier()})"

    def free_bytes(self) -> int:
        return available_memory()

    def peak_bytes(self) -> int:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Cuda:
    micro_batch_tokens = 8192
    sums: Literal["gloo", "nccl"] = "nccl"

    def assign(self, local_rank: int) -> bool:
        import torch

        if local_rank >= torch.cuda.device_count():
            return local_rank == 0
        torch.cuda.set_device(local_rank)
        return True

    def is_available(self) -> bool:
        if not _has_gpu_driver():
            return False
        import torch

        return torch.cuda.is_available()

    def has_fast_bfloat16(self) -> bool:
        import torch

        return bool(torch.cuda.is_bf16_supported())

    def title(self) -> str:
        import torch

        return torch.cuda.get_device_name()

    def free_bytes(self) -> int:
        import torch

        return int(torch.cuda.mem_get_info()[0])

    def peak_bytes(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated()


def _has_gpu_driver() -> bool:
    """Whether NVIDIA's driver or AMD's is there. Without, torch need not be asked, whose import takes 200 MB."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


class _Mps(_Cpu):
    """Apple's GPU shares the machine's memory, of which the system recommends a part at most."""

    micro_batch_tokens = 4096

    def assign(self, local_rank: int) -> bool:
        return local_rank == 0

    def is_available(self) -> bool:
        import torch

        return torch.backends.mps.is_available()

    def has_fast_bfloat16(self) -> bool:
        import torch

        return bool(torch.backends.mps.is_macos_or_newer(14, 0))

    def title(self) -> str:
        return "Apple GPU"

    def free_bytes(self) -> int:
        import torch

        recommended = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return min(int(recommended), available_memory())


class GpuMemory(NamedTuple):
    """In bytes. `held_bytes`: by this process, through PyTorch; the others are of the GPU, whoever uses it."""

    total_bytes: int
    free_bytes: int
    held_bytes: int


def gpu_memory() -> GpuMemory | None:
    """Of the NVIDIA GPU that this process computes on; None without one. Imports no torch and starts no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return GpuMemory(total_bytes, free_bytes, torch.cuda.memory_reserved())


DEVICES: dict[str, Device] = {"cpu": _Cpu(), "cuda": _Cuda(), "mps": _Mps()}  # by `torch.device.type`


def select_device(device: str, precision: str) -> tuple[DeviceName, Precision]:
    """(device, dtype of the base weights). `auto` selects an NVIDIA GPU if there is one, and bfloat16 if it is fast.

    Apple's GPU is used where it is named: nobody has measured it.
    """
    hold_libraries_to_tier()
    name: DeviceName = "cpu"
    if device == "mps":
        name = "mps"
    elif device == "cuda" or (device == "auto" and DEVICES["cuda"].is_available()):
        name = "cuda"
    if precision != "auto":
        return name, "float32" if precision == "float32" else "bfloat16"
    return name, "bfloat16" if DEVICES[name].has_fast_bfloat16() else "float32"
