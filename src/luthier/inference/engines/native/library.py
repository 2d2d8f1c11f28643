"""The compiled `forward.cpp`, and whether it can run on this machine."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from luthier import native
from luthier.settings import DEFAULT_CACHE

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("forward.cpp", "tasks.h", "formats.h", "pass.h"))

_FIELDS = (
    *("layer_count", "hidden_size", "heads", "kv_heads", "head_width", "intermediate_size", "vocabulary_size"),
    *("layers", "final_norm", "lm_head", "embeddings", "cos", "sin", "keys", "values", "adapters"),
    *("token_count", "sequence_count", "token_ids", "sequences", "block_table", "output_count", "returns_hidden"),
    *("output_rows", "out", "threads"),
)


class ForwardPass(ctypes.Structure):
    """The struct ForwardPass of `pass.h`: integers and addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in _FIELDS)

    def run(self, cache: Path, dtype: torch.dtype, epsilon: float) -> bool:
        """False when memory runs out."""
        library: Any = _library(cache)
        is_bf16 = ctypes.c_int64(dtype == torch.bfloat16)
        return bool(library.luthier_forward(is_bf16, ctypes.c_float(epsilon), ctypes.byref(self)))


def unavailable(dtype: torch.dtype, cache: Path = DEFAULT_CACHE) -> str | None:
    """Why the engine cannot compute in a dtype on this machine, if so. `cache`: the folder it compiles into."""
    library = _library(cache)
    if library is None:
        return native.NO_COMPILER
    if dtype == torch.bfloat16 and not native.has_amx(library):
        return "the CPU has no AMX"
    return None


@lru_cache
def _library(cache: Path) -> ctypes.CDLL | None:
    return native.load_library(cache, *_SOURCES)
