"""The device and dtype that training computes with, from the settings `device` and `precision`."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from luthier.devices import DEVICES, select_device
from luthier.native.dtype_choice import choose_dtype
from luthier.training.job_spec import JobSpec
from luthier.training.protocol import Hardware
from luthier.training.rank_environment import rank_of_environment
from luthier.types.errors import JobError
from luthier.types.plain_settings import DEFAULT_CACHE


@dataclass(frozen=True)
class ComputeDevice:
    """`dtype` is that of the base weights and of matrix products; reductions and adapter weights are float32."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def select(cls, device: str, precision: str) -> "ComputeDevice":
        """Resolve `auto` by what the device can do; each rank on a machine uses its own GPU.

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
        """As `select`, in the dtype in which this machine computes the job's base faster, as in serving.

        Raises JobError, BaseModelError.
        """
        chosen, cache = cls.select(spec.device, spec.precision), Path(spec.cache) if spec.cache else DEFAULT_CACHE
        dtype = choose_dtype(Path(spec.base), spec.device, spec.precision, cache).dtype
        return replace(chosen, dtype=getattr(torch, dtype))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> Hardware:
        return Hardware(
            name=DEVICES[self.device.type].title(),
            dtype=str(self.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            processes=rank_of_environment().ranks,
        )
