"""LoRA slots: which adapters are in memory, with LRU eviction. Imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from luthier.hardware import release_memory

Weights = TypeVar("Weights")


class LoraSlots(ABC, Generic[Weights]):
    """The adapters of one base model. More than `max_loras` are loaded only while that many are in use at once."""

    def __init__(self, max_loras: int) -> None:
        self._max_loras = max_loras
        self._slots: dict[Path, int] = {}  # least recently used first

    @property
    def loaded(self) -> int:
        """How many adapters are in memory."""
        return len(self._slots)

    @abstractmethod
    def load(self, adapter: Path) -> Weights:
        """Read a PEFT folder. Raises BaseModelError."""

    @abstractmethod
    def store(self, slot: int, weights: Weights) -> None:
        """Overwrites a slot; the first index beyond the existing ones adds a slot."""

    def acquire(self, adapter: Path, in_use: Sequence[Path]) -> int:
        """The adapter's slot, loaded on first use; adapters `in_use` are never evicted. Raises BaseModelError."""
        if adapter in self._slots:
            self._slots[adapter] = self._slots.pop(adapter)
            return self._slots[adapter]
        weights = self.load(adapter)
        slot = self._free_slot(in_use)
        self.store(slot, weights)
        self._slots[adapter] = slot
        del weights
        release_memory()  # the file's weights, and memory that the slots had before they grew
        return slot

    def _free_slot(self, in_use: Sequence[Path]) -> int:
        """An unused slot. The evicted adapter loses its slot even if storing the new one fails halfway."""
        idle = next((path for path in self._slots if path not in in_use), None)
        if len(self._slots) >= self._max_loras and idle is not None:
            del self._slots[idle]
        return min(set(range(len(self._slots) + 1)) - set(self._slots.values()))


class IgnoredLora(LoraSlots[None]):
    """LoRA slots for engines without weights: every adapter is accepted and has no effect."""

    def load(self, adapter: Path) -> None:
        return None

    def store(self, slot: int, weights: None) -> None:
        pass
