"""Weights in the layout that `forward.cpp` multiplies with: zero-padded panels of 32 or 16 outputs."""

import mmap
from contextlib import suppress

import torch

# Outputs of a panel, of half a panel; the number of inputs is a multiple of the third.
PANEL, HALF_PANEL, INPUT_MULTIPLE = 32, 16, 32


def round_up(count: int, multiple: int = PANEL) -> int:
    return -(-count // multiple) * multiple


class Arena:
    """Memory for a number of elements, handed out piece by piece. Uses pages of 2 MB where the operating system has
    them: a pass takes about 5 % less time.
    """

    def __init__(self, count: int, dtype: torch.dtype) -> None:
        memory = mmap.mmap(-1, max(1, count) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):  # unknown to Python, or to the operating system
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._free = torch.frombuffer(memory, dtype=dtype)
        self.address: int = self._free.data_ptr()

    def store(self, elements: torch.Tensor) -> torch.Tensor:
        """A copy in the arena."""
        stored, self._free = self._free[: len(elements)], self._free[len(elements) :]
        return stored.copy_(elements)


def packed_size(outputs: int, inputs: int) -> int:
    """Elements of a packed weight."""
    return round_up(outputs) * round_up(inputs, INPUT_MULTIPLE)


def pack(weight: torch.Tensor, panel: int = PANEL) -> torch.Tensor:
    """weight [O, D] -> panels of `panel` outputs each: in float32 [D, panel] one after another. In bfloat16, for every
    32 inputs, tiles of 16 outputs with the inputs in pairs: [16, 16, 2].
    """
    outputs, inputs = round_up(len(weight), panel), round_up(weight.shape[1], INPUT_MULTIPLE)
    padded = weight.new_zeros(outputs, inputs)
    padded[: len(weight), : weight.shape[1]] = weight
    if weight.dtype == torch.float32:
        return padded.view(-1, panel, inputs).transpose(1, 2).reshape(-1)
    tiles = padded.view(torch.int32).view(
        -1, panel // HALF_PANEL, HALF_PANEL, inputs // INPUT_MULTIPLE, INPUT_MULTIPLE // 2
    )
    return tiles.permute(0, 3, 1, 4, 2).contiguous().view(-1).view(weight.dtype)


def interleaved(intermediate_size: int) -> torch.Tensor:
    """The order of the fused gate and up outputs in panels: 16 of gate beside the same 16 of up; -1 for padding.

    int [2 I], I rounded up to 16.
    """
    gate = torch.full((round_up(intermediate_size, HALF_PANEL),), -1)
    gate[:intermediate_size] = torch.arange(intermediate_size)
    up = torch.where(gate < 0, -1, gate + intermediate_size)
    return torch.stack([gate.view(-1, HALF_PANEL), up.view(-1, HALF_PANEL)], 1).view(-1)


def gather_rows(rows: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The rows at these indices; zeros for -1."""
    gathered = rows[indices.clamp(min=0)]
    gathered[indices < 0] = 0
    return gathered
