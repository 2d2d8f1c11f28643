"""The compiled `forward.cpp`: one library per CPU tier; a process uses the fastest that works on this machine."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from luthier import native
from luthier.devices import Precision
from luthier.hardware import CpuTier, cpu_tiers
from luthier.inference.engines.native.panels import WeightFormat
from luthier.native.cached_measurement import cached_measurement
from luthier.native.dtype_choice import WORTHWHILE_SPEEDUP
from luthier.types.plain_settings import DEFAULT_CACHE

_FILES = (
    *("forward.cpp", "tasks.h", "formats.h", "pass.h"),
    *("kernels_float32.h", "kernels_avx512.h", "kernels_amx.h", "kernels_int16.h", "product_speed.h"),
)
_SOURCES = tuple(Path(__file__).with_name(name) for name in _FILES)

_FIELDS = (
    *("layer_count", "hidden_size", "heads", "kv_heads", "head_width", "intermediate_size", "vocabulary_size"),
    *("layers", "final_norm", "lm_head", "embeddings", "cos", "sin", "keys", "values", "adapters"),
    *("token_count", "sequence_count", "token_ids", "sequences", "block_table", "output_count", "returns_hidden"),
    *("output_rows", "out", "threads"),
)


class ForwardPass(ctypes.Structure):
    """The struct ForwardPass of `pass.h`: integers and addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in _FIELDS)


class Library(NamedTuple):
    """`forward.cpp` compiled for a tier. `computes_bf16`: whether this CPU multiplies faster in bfloat16."""

    tier: CpuTier
    functions: Any
    computes_bf16: bool

    def activations(self, precision: Precision) -> Precision:
        """The dtype of activations, KV blocks and adapters for a model in `precision`.

        Where bfloat16 is slower or missing they are float32, with weights in bfloat16.
        """
        return precision if self.computes_bf16 else "float32"

    def weight_format(self, stored: Literal["float32", "bfloat16", "int8"], activations: Precision) -> WeightFormat:
        """The format of base weights `stored` in this dtype, for `activations`."""
        in_pairs = self.functions.luthier_pairs_bytes(ctypes.c_int64(activations == "bfloat16"))
        return WeightFormat.of(stored, activations, in_pairs=bool(in_pairs))

    def run(self, forward: ForwardPass, weights: WeightFormat, epsilon: float) -> bool:
        """Run a pass; False if memory runs out."""
        is_bf16, kind = ctypes.c_int64(weights.activations == "bfloat16"), ctypes.c_int64(weights.kind)
        return bool(self.functions.luthier_forward(is_bf16, kind, ctypes.c_float(epsilon), ctypes.byref(forward)))


def unavailable(cache: Path = DEFAULT_CACHE) -> str | None:
    """The reason why the engine cannot compute on this machine, if any. `cache`: the folder for compiled libraries."""
    return None if fastest_library(cache) else native.NO_COMPILER


def fastest_library(cache: Path) -> Library | None:
    """The fastest library of the tiers that this CPU supports and LUTHIER_CPU_TIER allows. None without a compiler."""
    return next(filter(None, (_library(cache, tier) for tier in cpu_tiers())), None)


@lru_cache
def _library(cache: Path, tier: CpuTier) -> Library | None:
    """The library of a tier; None also if the operating system does not grant AMX to this process."""
    functions = native.load_library(cache, *_SOURCES, tier=tier.name)
    if functions is None or (tier.name == "amx" and not native.has_amx(functions)):
        return None
    return Library(tier, functions, _computes_bf16(cache, tier, functions))


def _computes_bf16(cache: Path, tier: CpuTier, functions: Any) -> bool:
    """On AMX always. Some CPUs multiply pairs of bfloat16 on AVX-512 at half the rate of float32, others at twice."""
    if tier.name == "amx":
        return True
    if not functions.luthier_computes_bf16():
        return False
    functions.luthier_bf16_speedup.restype = ctypes.c_double
    return cached_measurement(cache, "bf16-speedup", functions.luthier_bf16_speedup) >= WORTHWHILE_SPEEDUP
