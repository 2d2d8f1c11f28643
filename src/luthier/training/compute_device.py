"""The device and dtype that training computes with, from the settings `device` and `precision`."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from luthier.devices import DEVICES, select_device
from luthier.hardware import cpu_tiers
from luthier.native.cached_measurement import cached_measurement
from luthier.training.job_spec import JobSpec
from luthier.training.protocol import Hardware
from luthier.training.rank_environment import rank_of_environment
from luthier.types.errors import JobError
from luthier.types.plain_settings import DEFAULT_CACHE
from luthier.weights import count_parameters

_WORTHWHILE_SPEEDUP = 0.8  # from which bfloat16 is taken: float32 needs twice the memory
_MEMORY_SHARE = 4  # a base in float32 may take one part of so many of the machine's memory


@dataclass(frozen=True)
class ComputeDevice:
    """`dtype` is that of the base weights and of matrix products; reductions and adapter weights are float32."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def select(cls, device: str, precision: str) -> "ComputeDevice":
        """Resolve `auto` as in serving; each rank on a machine uses its own GPU.

        Raises JobError for more ranks than GPUs.
        """
        device_type, dtype = select_device(device, precision)
        place = rank_of_environment()
        if not DEVICES[device_type].assign(place.local_rank):
            raise JobError(
                "insufficient_devices",
                f"{place.local_ranks} processes need as many GPUs, and this machine has fewer. Set "
                "LUTHIER_TRAINING_PROCESSES to their number.",
            )
        return cls(torch.device(device_type), getattr(torch, dtype))

    @classmethod
    def of_job(cls, spec: JobSpec) -> "ComputeDevice":
        """As `select`, but a job that leaves the dtype open trains in the one in which the CPU multiplies faster.

        Without AMX that may be float32, by several times: on plain AVX-512 oneDNN emulates bfloat16. A base that would
        take much of the memory stays in bfloat16. Raises JobError, BaseModelError.
        """
        chosen = cls.select(spec.device, spec.precision)
        if (
            spec.precision != "auto"
            or chosen != cls(torch.device("cpu"), torch.bfloat16)
            or cpu_tiers()[0].name == "amx"
        ):
            return chosen
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # all: what is free changes from run to run
        if torch.float32.itemsize * count_parameters(Path(spec.base)) > memory // _MEMORY_SHARE:
            return chosen
        cache = Path(spec.cache) if spec.cache else DEFAULT_CACHE
        is_worthwhile = cached_measurement(cache, "bf16-training-speedup", _bf16_speedup) >= _WORTHWHILE_SPEEDUP
        return chosen if is_worthwhile else cls(chosen.device, torch.float32)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> Hardware:
        return Hardware(
            name=DEVICES[self.device.type].title(),
            dtype=str(self.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            processes=rank_of_environment().ranks,
        )


def _bf16_speedup() -> float:
    """How many times as fast as in float32 PyTorch multiplies in bfloat16, on one thread of this CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    float32_s, bfloat16_s = (_product_s(dtype) for dtype in (torch.float32, torch.bfloat16))
    torch.set_num_threads(threads)
    return float32_s / bfloat16_s


def _product_s(dtype: torch.dtype) -> float:
    """CPU seconds of a product of the size of those in training, at the best of several tries."""
    x, weight = torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        started = time.thread_time()
        x @ weight.T
        best = min(best, time.thread_time() - started)
    return best
