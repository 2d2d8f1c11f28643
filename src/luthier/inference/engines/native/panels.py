"""Weights as `forward.cpp` multiplies with them: panels of 32 or 16 outputs, filled up with zeros."""

import mmap
from contextlib import suppress

import torch

COLUMNS, PART, STEP = 32, 16, 32  # outputs of a panel, of half of one, and what the number of inputs is a multiple of


def up(count: int, multiple: int = COLUMNS) -> int:
    return -(-count // multiple) * multiple


class Memory:
    """A block of so many numbers, of which parts are taken one after the other. In pages of 2 MB where the system has
    them: a pass takes some 5 % less.
    """

    def __init__(self, count: int, dtype: torch.dtype) -> None:
        block = mmap.mmap(-1, max(1, count) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):  # not known to Python, or to the system
            block.madvise(mmap.MADV_HUGEPAGE)
        self._free = torch.frombuffer(block, dtype=dtype)
        self.address: int = self._free.data_ptr()

    def keep(self, numbers: torch.Tensor) -> torch.Tensor:
        kept, self._free = self._free[: len(numbers)], self._free[len(numbers) :]
        return kept.copy_(numbers)


def size(outputs: int, inputs: int) -> int:
    """Numbers of a weight in panels."""
    return up(outputs) * up(inputs, STEP)


def pack(weight: torch.Tensor, columns: int = COLUMNS) -> torch.Tensor:
    """weight [O, D] -> panels of `columns` outputs each: in float32 [D, columns] after one another. In bfloat16, for
    every 32 inputs, tiles of 16 outputs, which hold the inputs by pairs: [16, 16, 2].
    """
    outputs, inputs = up(len(weight), columns), up(weight.shape[1], STEP)
    filled = weight.new_zeros(outputs, inputs)
    filled[: len(weight), : weight.shape[1]] = weight
    if weight.dtype == torch.float32:
        return filled.view(-1, columns, inputs).transpose(1, 2).reshape(-1)
    tiles = filled.view(torch.int32).view(-1, columns // PART, PART, inputs // STEP, STEP // 2)
    return tiles.permute(0, 3, 1, 4, 2).contiguous().view(-1).view(weight.dtype)


def gated(inner: int) -> torch.Tensor:
    """Which of the outputs of gate and up, joined, stands where in panels: 16 of gate and beside them the same of up;
    -1 where none is. int [2 I], I rounded up to 16.
    """
    gate = torch.full((up(inner, PART),), -1)
    gate[:inner] = torch.arange(inner)
    both = torch.stack([gate.view(-1, PART), torch.where(gate < 0, -1, gate + inner).view(-1, PART)], 1)
    return both.view(-1)


def chosen(rows: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """The rows with these numbers; zeros for -1."""
    made = rows[which.clamp(min=0)]
    made[which < 0] = 0
    return made
