"""Training throughput of this machine, from measurements and jobs: `rates.json` in the cache folder.

Rates are kept by base model, settings and hardware, each with its date, its steps and the load of the machine, since a
rate does not apply while the machine is doing other work.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from luthier.types.durable_text import write_durably

_FILE = "rates.json"
_MAX_RATES = 12  # per key; the oldest go first
_MAX_AGE_S = 30 * 24 * 3600
MIN_STEPS = 3  # fewer say nothing about the next ones
_LOAD_TOLERANCE = 0.5  # per core; half of a load that is higher than one


@dataclass(frozen=True)
class Rate:
    """Tokens of examples trained per second over `steps` optimizer steps.

    `measured_at`: Unix seconds. `load`: waiting and running processes per core before it began; None where the system
    does not tell. `details`: what a measurement also found (hardware, memory, sizes); a job leaves none.
    `peak_memory_bytes`: of a job's trainer, on the CPU; None where it was not measured.
    """

    tokens_per_s: float
    steps: int
    measured_at: int
    load: float | None
    source: Literal["measurement", "job"]
    details: dict[str, Any] = field(default_factory=dict)
    peak_memory_bytes: int | None = None

    def is_like(self, load: float | None) -> bool:
        """Whether it holds for a machine under `load`: recent, of several steps, under a similar load."""
        if self.load is None or load is None:
            similar = True
        else:
            similar = abs(self.load - load) <= max(_LOAD_TOLERANCE, max(self.load, load) / 2)
        return similar and self.steps >= MIN_STEPS and time.time() - self.measured_at < _MAX_AGE_S


def rate_key(base: Path, device: str, precision: str, threads: int, *, full: bool) -> str:
    """What a rate depends on: base model, settings, hardware, PyTorch's version. Does not import torch."""
    settings = [base.name, device, precision, str(threads)]
    return " | ".join([*settings, *_hardware(), *(["full"] if full else [])])


def load_per_core() -> float | None:
    """The load average of the last minute, per core; None where the system has none."""
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except (AttributeError, OSError):
        return None


def read_rates(cache: Path, key: str) -> list[Rate]:
    """The rates of `key`, the oldest first; entries of earlier releases, which have no date, are not read."""
    entries = _read(cache).get(key)
    try:
        return [Rate(**entry) for entry in entries] if isinstance(entries, list) else []
    except TypeError:
        return []


def rates_of_base(cache: Path, base_name: str) -> list[Rate]:
    """The rates of LoRA training on a base model under any settings, of several steps and not long ago."""
    keys = [key for key in _read(cache) if key.startswith(f"{base_name} | ") and not key.endswith(" | full")]
    return [rate for key in keys for rate in read_rates(cache, key) if rate.is_like(None)]


def add_rate(cache: Path, key: str, rate: Rate) -> None:
    """Adds a rate. Raises OSError for a cache folder that cannot be written."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{_FILE}.lock"):  # jobs of one server or of several may end together
        rates = [*read_rates(cache, key), rate][-_MAX_RATES:]
        document = _read(cache) | {key: [asdict(rate) for rate in rates]}
        write_durably(cache / _FILE, json.dumps(document, indent=1))


def newest_measurement(rates: Sequence[Rate]) -> Rate | None:
    """The last rate with details."""
    return next((rate for rate in reversed(rates) if rate.details), None)


def _read(cache: Path) -> dict[str, Any]:
    try:
        document = json.loads((cache / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _hardware() -> list[str]:
    """CPU, cores, GPUs and PyTorch's version."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text(errors="replace").splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    gpus = Path("/proc/driver/nvidia/gpus")
    cards = [file.read_text(errors="replace").split("\n")[0] for file in sorted(gpus.glob("*/information"))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [cpu, str(os.cpu_count()), *cards, visible, version("torch")]
