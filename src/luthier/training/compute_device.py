"""The device and dtype that training computes with, from the settings `device` and `precision`."""

from dataclasses import dataclass

import torch

from luthier.devices import DEVICES, select_device
from luthier.training.protocol import Hardware
from luthier.training.rank_environment import rank_of_environment
from luthier.types.errors import JobError


@dataclass(frozen=True)
class ComputeDevice:
    """`dtype` is that of the base weights and of matrix products; reductions and adapter weights are float32."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def select(cls, device: str, precision: str) -> "ComputeDevice":
        """Resolves `auto` as serving does; each rank on a machine has a GPU of its own.

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

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> Hardware:
        return Hardware(
            name=DEVICES[self.device.type].title(),
            dtype=str(self.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            processes=rank_of_environment().ranks,
        )
