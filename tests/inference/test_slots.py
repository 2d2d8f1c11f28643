"""Which adapter is in which slot."""

from pathlib import Path

import pytest

from luthier.inference.memory.lora_slots import Slots

A, B, C, D, BAD = (Path(name) for name in ("a", "b", "c", "d", "bad"))


class Noted(Slots[Path]):
    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.placed: dict[int, Path] = {}

    def load(self, adapter: Path) -> Path:
        return adapter

    def place(self, slot: int, loaded: Path) -> None:
        if loaded == BAD:
            raise RuntimeError("no memory")
        self.placed[slot] = loaded


def test_the_longest_unused_one_that_is_not_busy_goes() -> None:
    slots = Noted(2)
    assert [slots.slot(one, []) for one in (A, B, A, C)] == [0, 1, 0, 1]
    assert slots.slot(B, [C]) == 0
    assert slots.slot(A, [B, C]) == 2, "all are busy: one more"
    assert slots.placed == {0: B, 1: C, 2: A}


def test_one_that_cannot_be_placed_takes_nobodys_slot() -> None:
    slots = Noted(2)
    assert [slots.slot(one, []) for one in (A, B)] == [0, 1]
    with pytest.raises(RuntimeError, match="no memory"):
        slots.slot(BAD, [B])
    assert slots.slot(D, [B]) == 0, "where a was, which may be half overwritten"
    assert slots.slot(A, [D]) == 1
    assert slots.slot(B, [A, D]) == 2
    assert slots.placed == {0: D, 1: A, 2: B}
