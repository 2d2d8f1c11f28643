"""Weights in the layout that `forward.cpp` multiplies with: zero-padded panels of 32 or 16 outputs.

In float32, bfloat16 or 8 bits. 8 bits: for each output and every 32 inputs a scale in bfloat16, and integers from -127
to 127.
"""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np

from luthier.devices import Precision
from luthier.inference.engines import bfloat16

# Outputs of a panel, of half a panel; the number of inputs is a multiple of the third.
PANEL, HALF_PANEL, INPUT_MULTIPLE = 32, 16, 32
_SCALE_BYTES, _LARGEST = 2, 127
_PACKED_AT_ONCE = 64 * PANEL  # outputs at a time, so that the temporary memory for a large matrix is small
_DTYPES: dict[str, type] = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.uint8}  # of stored elements


def round_up(count: int, multiple: int = PANEL) -> int:
    return -(-count // multiple) * multiple


def element_type(precision: Precision) -> type:
    """The NumPy type that stores it."""
    return _DTYPES[precision]


class Arena:
    """Memory for a number of elements, allocated piece by piece. Uses pages of 2 MB if the operating system supports
    them, which makes a pass about 5 % faster.
    """

    def __init__(self, count: int, dtype: type) -> None:
        memory = mmap.mmap(-1, max(1, count) * np.dtype(dtype).itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):  # unknown to Python, or to the operating system
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._free: np.ndarray = np.frombuffer(memory, dtype)
        self.address: int = self._free.ctypes.data

    def store(self, elements: np.ndarray) -> np.ndarray:
        """A copy in the arena."""
        stored, self._free = self._free[: len(elements)], self._free[len(elements) :]
        stored[:] = elements
        return stored


def pack(weight: np.ndarray, panel: int = PANEL, multiple: int = INPUT_MULTIPLE) -> np.ndarray:
    """weight [O, D] -> panels of `panel` outputs each: in float32 [D, panel] one after another. In bfloat16, for every
    32 inputs, tiles of 16 outputs with the inputs in pairs: [16, 16, 2]. D is padded to a `multiple`, which only in
    float32 may be another than 32.
    """
    padded = _padded(weight, panel, multiple)
    inputs = padded.shape[1]
    if weight.dtype == np.float32:
        return padded.reshape(-1, panel, inputs).transpose(0, 2, 1).reshape(-1)
    tiles = padded.view(np.uint32).reshape(
        -1, panel // HALF_PANEL, HALF_PANEL, inputs // INPUT_MULTIPLE, INPUT_MULTIPLE // 2
    )
    return tiles.transpose(0, 3, 1, 4, 2).reshape(-1).view(np.uint16)


class WeightFormat(NamedTuple):
    """The storage format of base weights. `kind`: WeightType of `forward.cpp`; `dtype`: of the stored elements;
    `activations`: the precision of activations; `in_pairs`: the order of the integers of 8 bits, as for `quantize`.
    """

    kind: int
    dtype: type
    activations: Precision
    in_pairs: bool

    @classmethod
    def of(
        cls, stored: Literal["float32", "bfloat16", "int8"], activations: Precision, *, in_pairs: bool
    ) -> "WeightFormat":
        return cls(list(_DTYPES).index(stored), _DTYPES[stored], activations, in_pairs)

    def size(self, outputs: int, inputs: int) -> int:
        """Elements of a packed weight."""
        count = round_up(outputs) * round_up(inputs, INPUT_MULTIPLE)
        return count + count // INPUT_MULTIPLE * _SCALE_BYTES if self.dtype == np.uint8 else count

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """weight [O, D] -> [size]."""
        return np.concatenate(list(self._pieces(weight)))

    def embeddings(self, weight: np.ndarray) -> np.ndarray:
        """Embeddings that are not shared with the LM head, in the format for a pass."""
        return bfloat16.widened(weight) if self.dtype == np.float32 else bfloat16.rounded(weight)

    def _pieces(self, weight: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(weight), _PACKED_AT_ONCE):
            rows = weight[start : start + _PACKED_AT_ONCE]
            if self.dtype == np.uint8:
                yield quantize(bfloat16.widened(rows), in_pairs=self.in_pairs)
            else:
                yield pack(self.embeddings(rows))


def quantize(weight: np.ndarray, *, in_pairs: bool) -> np.ndarray:
    """weight float32 [O, D] -> panels of 32 outputs in 8 bits, as bytes: for every 32 inputs 32 scales and [32, 32]
    integers.

    The integers are in the order of `pack`, with inputs in pairs as in bfloat16, or else as in float32.
    """
    padded = _padded(weight, PANEL)
    blocks = padded.reshape(-1, PANEL, padded.shape[1] // INPUT_MULTIPLE, INPUT_MULTIPLE).transpose(0, 2, 1, 3)
    exact = np.abs(blocks).max(-1) / np.float32(_LARGEST)
    scales = bfloat16.rounded(exact)
    scales = scales + (bfloat16.widened(scales) < exact)  # the next larger one
    widths = np.maximum(bfloat16.widened(scales), np.finfo(np.float32).tiny)
    integers = np.rint(blocks / widths[..., None]).astype(np.int8)
    if in_pairs:
        halves = integers.reshape(*integers.shape[:2], 2, HALF_PANEL, INPUT_MULTIPLE // 2, 2)
        ordered = halves.transpose(0, 1, 2, 4, 3, 5)
    else:
        ordered = integers.transpose(0, 1, 3, 2)
    rows = [scales.view(np.uint8), ordered.reshape(*scales.shape[:2], -1).view(np.uint8)]
    return np.concatenate(rows, -1).reshape(-1)


def _padded(weight: np.ndarray, panel: int, multiple: int = INPUT_MULTIPLE) -> np.ndarray:
    """Pad with zeros to complete panels and blocks of inputs."""
    padded = np.zeros((round_up(len(weight), panel), round_up(weight.shape[1], multiple)), weight.dtype)
    padded[: len(weight), : weight.shape[1]] = weight
    return padded


def interleaved(intermediate_size: int) -> np.ndarray:
    """The order of the fused gate and up outputs in panels: 16 of gate beside the same 16 of up; -1 for padding.

    int [2 I], I rounded up to 16.
    """
    gate = np.full(round_up(intermediate_size, HALF_PANEL), -1)
    gate[:intermediate_size] = np.arange(intermediate_size)
    up = np.where(gate < 0, -1, gate + intermediate_size)
    return np.stack([gate.reshape(-1, HALF_PANEL), up.reshape(-1, HALF_PANEL)], 1).reshape(-1)


def gather_rows(rows: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The rows at these indices; zeros for -1."""
    gathered: np.ndarray = rows[indices]
    gathered[indices < 0] = 0
    return gathered
