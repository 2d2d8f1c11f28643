"""`kernels.cpp` and what it includes, compiled on this machine: the same as `kernels`, `products` and `attention` in
less time.

Compiled once, in a few seconds, into the cache folder. Where there is no C++ compiler, or on a GPU, PyTorch computes.
Knows nothing of what it runs beyond how to pass it on.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch

from luthier import native

_FILES = ("kernels.cpp", "amx_attention.h", "lora_linear.h", "amx_lm_head.h")
_SOURCES = tuple(Path(__file__).with_name(name) for name in _FILES)
MISSING = f"{native.NO_COMPILER}: training takes up to twice as long as with one"
_HALF = {torch.bfloat16: 1, torch.float32: 0}
MULTIPLE = 32  # of what the sizes of matrices must be, for the matrix unit


def takes(*tensors: torch.Tensor) -> bool:
    """Whether these can be passed on: rows one after the other, of one number format, in a processor's memory."""
    first = tensors[0]
    return (
        first.device.type == "cpu"
        and first.dtype in _HALF
        and all(tensor.dtype == first.dtype and tensor.stride(-1) == 1 for tensor in tensors)
        and library() is not None
    )


def multiplies(*tensors: torch.Tensor) -> bool:
    """Whether these matrices can be passed on to the processor's matrix unit; only numbers of rows may be odd."""
    return (
        takes(*tensors)
        and tensors[0].dtype == torch.bfloat16
        and all(one.is_contiguous() and one.shape[1] % MULTIPLE == 0 for one in tensors)
        and _has_matrix_unit()
    )


@cache
def _has_matrix_unit() -> bool:
    return native.has_matrix_unit(library())


def call(name: str, like: torch.Tensor, *given: torch.Tensor | int | float) -> None:
    """Runs `luthier_NAME` for numbers as `like` has them, on as many threads as PyTorch uses."""
    function = getattr(library(), f"luthier_{name}")
    function(ctypes.c_int64(_HALF[like.dtype]), *map(native.passed, given), ctypes.c_int64(torch.get_num_threads()))


@cache
def library() -> ctypes.CDLL | None:
    """None without a compiler that knows OpenMP."""
    return native.library(*_SOURCES)
