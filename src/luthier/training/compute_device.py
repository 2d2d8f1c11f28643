"""The device and dtype that training computes with, from the settings `device` and `precision`."""

from dataclasses import dataclass

import torch

from luthier.devices import DEVICES, select_device
from luthier.training.protocol import Hardware


@dataclass(frozen=True)
class ComputeDevice:
    """`dtype` is that of the base weights and of matrix products; reductions and adapter weights are float32."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def select(cls, device: str, precision: str) -> "ComputeDevice":
        """Resolves `auto` as serving does."""
        device_type, dtype = select_device(device, precision)
        return cls(torch.device(device_type), getattr(torch, dtype))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> Hardware:
        name = DEVICES[self.device.type].title()
        return Hardware(name=name, dtype=str(self.dtype).removeprefix("torch."), threads=torch.get_num_threads())
