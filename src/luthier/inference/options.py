"""Options that engines are built with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.devices import Precision, select_device
from luthier.types.errors import BaseModelError
from luthier.types.plain_settings import DEFAULT_CACHE


@dataclass(frozen=True, kw_only=True)
class VllmOptions:
    """Values of the settings vllm_url, vllm_api_key, vllm_command and vllm_arguments."""

    url: str | None = None
    api_key: str | None = None
    command: str = "vllm"
    arguments: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """`max_models` and `max_loras` stay in memory; one key may have `max_requests_per_key` waiting or running."""

    engine: str = "auto"
    serving_weights: Literal["auto", "full", "int8"] = "auto"  # of the engine native
    device: str = "auto"
    precision: str = "auto"
    max_models: int = 4
    max_loras: int = 8
    max_requests_per_key: int = 64
    prefix_cache_bytes: int = 256 * 1024 * 1024
    vllm: VllmOptions = VllmOptions()
    cache: Path = DEFAULT_CACHE  # compiled kernels are in its folder kernels

    def cpu_precision(self, engine: str) -> Precision:
        """The precision of an engine that runs only on CPUs. Raises BaseModelError if the options choose another
        device."""
        device, precision = select_device(self.device, self.precision)
        if device != "cpu":
            raise BaseModelError(f"The {engine} engine computes on the CPU. Start with --device cpu.")
        return precision
