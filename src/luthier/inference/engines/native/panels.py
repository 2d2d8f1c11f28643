"""Weights in the layout that `forward.cpp` multiplies with: zero-padded panels of 32 or 16 outputs.

In float32, bfloat16 or 8 bits. 8 bits: for each output and every 32 inputs a scale in bfloat16, and integers from -127
to 127.
"""

import mmap
from contextlib import suppress
from typing import NamedTuple

import torch

# Outputs of a panel, of half a panel; the number of inputs is a multiple of the third.
PANEL, HALF_PANEL, INPUT_MULTIPLE = 32, 16, 32
_SCALE_BYTES, _LARGEST = 2, 127


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


def pack(weight: torch.Tensor, panel: int = PANEL) -> torch.Tensor:
    """weight [O, D] -> panels of `panel` outputs each: in float32 [D, panel] one after another. In bfloat16, for every
    32 inputs, tiles of 16 outputs with the inputs in pairs: [16, 16, 2].
    """
    padded = _padded(weight, panel)
    inputs = padded.shape[1]
    if weight.dtype == torch.float32:
        return padded.view(-1, panel, inputs).transpose(1, 2).reshape(-1)
    tiles = padded.view(torch.int32).view(
        -1, panel // HALF_PANEL, HALF_PANEL, inputs // INPUT_MULTIPLE, INPUT_MULTIPLE // 2
    )
    return tiles.permute(0, 3, 1, 4, 2).contiguous().view(-1).view(weight.dtype)


class WeightFormat(NamedTuple):
    """How base weights are stored. `kind`: WeightType of `forward.cpp`; `dtype`: of the stored elements;
    `activations`: the dtype that they are multiplied with, which orders the integers of 8 bits.
    """

    kind: int
    dtype: torch.dtype
    activations: torch.dtype

    @classmethod
    def of(cls, dtype: torch.dtype, activations: torch.dtype) -> "WeightFormat":
        """`dtype`: float32, bfloat16, or int8 for 8 bits."""
        kind = (torch.float32, torch.bfloat16, torch.int8).index(dtype)
        return cls(kind, torch.uint8 if dtype == torch.int8 else dtype, activations)

    @property
    def embeddings(self) -> torch.dtype:
        """The dtype of embeddings that are not shared with the LM head."""
        return torch.bfloat16 if self.dtype == torch.uint8 else self.dtype

    def size(self, outputs: int, inputs: int) -> int:
        """Elements of a packed weight."""
        count = round_up(outputs) * round_up(inputs, INPUT_MULTIPLE)
        return count + count // INPUT_MULTIPLE * _SCALE_BYTES if self.dtype == torch.uint8 else count

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """weight [O, D] -> [size]."""
        return quantize(weight, self.activations) if self.dtype == torch.uint8 else pack(weight.to(self.dtype))


def quantize(weight: torch.Tensor, activations: torch.dtype) -> torch.Tensor:
    """weight [O, D] -> panels of 32 outputs in 8 bits, as bytes: for every 32 inputs 32 scales and [32, 32] integers.

    The integers are in the order of `pack` in the dtype `activations`.
    """
    padded = _padded(weight.float(), PANEL)
    blocks = padded.view(-1, PANEL, padded.shape[1] // INPUT_MULTIPLE, INPUT_MULTIPLE).transpose(1, 2)
    exact = blocks.abs().amax(-1) / _LARGEST
    scales = exact.bfloat16()
    scales = torch.where(scales < exact, scales.view(torch.int16) + 1, scales.view(torch.int16))  # the next larger one
    widths = scales.view(torch.bfloat16).float().clamp(min=torch.finfo(torch.float32).tiny)
    integers = (blocks / widths[..., None]).round_().to(torch.int8)
    if activations == torch.float32:
        ordered = integers.transpose(2, 3)
    else:
        halves = integers.view(*integers.shape[:2], 2, HALF_PANEL, INPUT_MULTIPLE // 2, 2)
        ordered = halves.transpose(3, 4)
    rows = [scales.contiguous().view(torch.uint8), ordered.reshape(*scales.shape[:2], -1).view(torch.uint8)]
    return torch.cat(rows, -1).view(-1)


def _padded(weight: torch.Tensor, panel: int) -> torch.Tensor:
    """With zeros, to whole panels and blocks of inputs."""
    padded = weight.new_zeros(round_up(len(weight), panel), round_up(weight.shape[1], INPUT_MULTIPLE))
    padded[: len(weight), : weight.shape[1]] = weight
    return padded


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
