"""LoRA slots: LRU eviction."""

from pathlib import Path

import pytest

from luthier.inference.memory.lora_slots import LoraSlots

A, B, C, D, BAD = (Path(name) for name in ("a", "b", "c", "d", "bad"))


class RecordedSlots(LoraSlots[Path]):
    def __init__(self, max_loras: int) -> None:
        super().__init__(max_loras)
        self.stored: dict[int, Path] = {}

    def load(self, adapter: Path) -> Path:
        return adapter

    def store(self, slot: int, weights: Path) -> None:
        if weights == BAD:
            raise RuntimeError("no memory")
        self.stored[slot] = weights


def test_the_least_recently_used_idle_adapter_is_evicted() -> None:
    slots = RecordedSlots(2)
    assert [slots.acquire(adapter, []) for adapter in (A, B, A, C)] == [0, 1, 0, 1]
    assert slots.acquire(B, [C]) == 0
    assert slots.acquire(A, [B, C]) == 2, "all are in use: one more"
    assert slots.stored == {0: B, 1: C, 2: A}


def test_an_adapter_that_cannot_be_stored_takes_no_slot() -> None:
    slots = RecordedSlots(2)
    assert [slots.acquire(adapter, []) for adapter in (A, B)] == [0, 1]
    with pytest.raises(RuntimeError, match="no memory"):
        slots.acquire(BAD, [B])
    assert slots.acquire(D, [B]) == 0, "where a was, which may be half overwritten"
    assert slots.acquire(A, [D]) == 1
    assert slots.acquire(B, [A, D]) == 2
    assert slots.stored == {0: D, 1: A, 2: B}
