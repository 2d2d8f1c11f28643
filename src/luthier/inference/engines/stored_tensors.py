"""Tensors of safetensors files, each read into a NumPy array on request; nothing else stays in memory."""

import json
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open

from luthier.inference.engines import bfloat16

_BFLOAT16 = "BF16"
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, _BFLOAT16: np.uint16}


class _Place(NamedTuple):
    file: Path
    dtype: str  # in the notation of safetensors
    shape: tuple[int, ...]
    offset: int  # bytes


class StoredTensors:
    def __init__(self, files: Iterable[Path], rename: Callable[[str], str] = str) -> None:
        """`rename`: maps the name in a file to the requested name. Raises OSError, SafetensorError."""
        self._places: dict[str, _Place] = {}
        for file in files:
            for name, place in _places(file).items():
                self._places[rename(name)] = place

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor, by name."""
        return {name: place.shape for name, place in self._places.items()}

    def is_bfloat16(self, name: str) -> bool:
        """Whether it is stored so."""
        return self._places[name].dtype == _BFLOAT16

    def read(self, name: str) -> np.ndarray:
        """Read a tensor in float32, or in bfloat16 (`bfloat16.py`) if it is stored that way.

        Raises OSError; ValueError for a dtype that is not a floating-point type of 16, 32 or 64 bits.
        """
        place = self._places[name]
        dtype = _DTYPES.get(place.dtype)
        if dtype is None:
            raise ValueError(f"the tensor {name} is stored as {place.dtype}, which this engine does not read")
        values = np.fromfile(place.file, dtype, prod(place.shape), offset=place.offset).reshape(place.shape)
        return values if place.dtype == _BFLOAT16 else values.astype(np.float32, copy=False)

    def floats(self, name: str) -> np.ndarray:
        """Read a tensor in float32. Raises like `read`."""
        return bfloat16.widened(self.read(name))


def _places(file: Path) -> dict[str, _Place]:
    """Raises OSError, SafetensorError."""
    with safe_open(file, "np"):  # checks the header, and that the length of the file matches it
        pass
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    return {
        name: _Place(file, entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
        for name, entry in header.items()
    }
