"""The training speed of an adapter on a base of this machine, and an estimate for bases of other sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BYTES_PER_WEIGHT_BYTE = 2.0  # of memory, by which a larger base needs more: its weights, and what is made of them


@dataclass(frozen=True, slots=True)
class Speed:
    """Of training with an adapter: tokens per second and peak memory, on a base whose weights take `weight_bytes`."""

    tokens_per_s: float
    memory_bytes: int
    weight_bytes: int

    def scaled(self, weight_bytes: int) -> Speed:
        """The estimate for a base of another size."""
        more = int(_BYTES_PER_WEIGHT_BYTE * (weight_bytes - self.weight_bytes))
        speed = self.tokens_per_s * self.weight_bytes / weight_bytes
        return Speed(speed, max(self.memory_bytes + more, weight_bytes), weight_bytes)


def nearest_scaled(speeds: Iterable[Speed], weight_bytes: int) -> Speed | None:
    """Scaled from the base whose size is closest; None without one."""
    nearest = min(speeds, key=lambda speed: abs(speed.weight_bytes - weight_bytes), default=None)
    return nearest.scaled(weight_bytes) if nearest else None


def weight_bytes(folder: Path) -> int:
    """Of a base model folder."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
