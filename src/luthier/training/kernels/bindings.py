"""The compiled kernels of training: `kernels.cpp` and its headers, called with tensors.

They compute what `elementwise`, `lora_linear` and `attention` compute in PyTorch, in less time. PyTorch computes on a
GPU, and where there is no C++ compiler.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch

from luthier import native
from luthier.types.plain_settings import DEFAULT_CACHE

_FILES = ("kernels.cpp", "elementwise.h", "attention.h", "amx_attention.h", "lora_linear.h", "amx_lm_head.h")
_SOURCES = tuple(Path(__file__).with_name(name) for name in _FILES)
_IS_BF16 = {torch.bfloat16: 1, torch.float32: 0}
AMX_MULTIPLE = 32  # matrix sizes must be multiples of this for the AMX kernels

_cache_folder = DEFAULT_CACHE


def use_cache(folder: Path) -> None:
    """Set the cache folder for kernels compiled by this process; call before the first kernel runs."""
    global _cache_folder
    if folder != _cache_folder:
        _cache_folder = folder
        library.cache_clear()
        _has_amx.cache_clear()


def supports(*tensors: torch.Tensor) -> bool:
    """Whether the kernels support these tensors: on the CPU, of one dtype, bfloat16 or float32, with contiguous
    rows."""
    first = tensors[0]
    return (
        first.device.type == "cpu"
        and first.dtype in _IS_BF16
        and all(tensor.dtype == first.dtype and tensor.stride(-1) == 1 for tensor in tensors)
        and library() is not None
    )


def supports_amx(*matrices: torch.Tensor) -> bool:
    """Whether the AMX kernels support these matrices; their row counts need not be multiples of AMX_MULTIPLE."""
    return (
        supports(*matrices)
        and matrices[0].dtype == torch.bfloat16
        and all(matrix.is_contiguous() and matrix.shape[1] % AMX_MULTIPLE == 0 for matrix in matrices)
        and _has_amx()
    )


def call(name: str, like: torch.Tensor, *arguments: torch.Tensor | int | float) -> None:
    """Runs `luthier_NAME` in the dtype of `like`, on as many threads as PyTorch uses."""
    function = getattr(library(), f"luthier_{name}")
    is_bf16, threads = ctypes.c_int64(_IS_BF16[like.dtype]), ctypes.c_int64(torch.get_num_threads())
    function(is_bf16, *map(native.argument, arguments), threads)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None without a C++ compiler with OpenMP."""
    return native.load_library(_cache_folder, *_SOURCES)


@cache
def _has_amx() -> bool:
    return native.has_amx(library())
