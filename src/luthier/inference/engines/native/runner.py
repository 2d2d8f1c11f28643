"""The native engine: one pass of `forward.cpp` over chunks of several sequences, each with its own adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luthier import native
from luthier.arch import Feature
from luthier.arch.projections import PROJECTIONS
from luthier.devices import Precision
from luthier.hardware import compute_threads, release_memory
from luthier.inference.engines.fused_model import FusedModel, decoder_spec
from luthier.inference.engines.native import BACKEND, eight_bits
from luthier.inference.engines.native.base_weights import BaseWeights, layer_name
from luthier.inference.engines.native.library import ForwardPass, fastest_library
from luthier.inference.engines.native.packed_lora import PackedLora
from luthier.inference.engines.native.panels import (
    HALF_PANEL,
    PANEL,
    Arena,
    element_type,
    gather_rows,
    interleaved,
    round_up,
)
from luthier.inference.engines.native.rotary_table import RotaryTable
from luthier.inference.memory.block_pool import BlockPool
from luthier.inference.memory.paged_cache import PagedCache
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.options import EngineOptions
from luthier.types.errors import BaseModelError
from luthier.types.plain_settings import DEFAULT_CACHE

_BLOCK_SIZE = 64  # tokens


def build(base: Path, options: EngineOptions) -> "NativeRunner":
    """Build a runner, with weights in 8 bits if the options say so, or if they leave weights and precision open and the
    measured change is small.

    Raises BaseModelError.
    """
    precision = options.cpu_precision("native")

    def runner(in_eight_bits: bool) -> NativeRunner:
        return NativeRunner(base, precision, options.max_loras, options.cache, eight_bits=in_eight_bits)

    library = fastest_library(options.cache)
    if options.serving_weights != "auto" or options.precision == "float32" or library is None:
        return runner(options.serving_weights == "int8")
    kernels = f"{library.tier.name}, {library.activations(precision)}"
    return runner(eight_bits.passes(base, options.cache, kernels, runner))


class NativeRunner(ModelRunner):
    adapters: PackedLora
    max_prefills = None

    def __init__(
        self, base: Path, precision: Precision, max_loras: int, cache: Path = DEFAULT_CACHE, *, eight_bits: bool = False
    ) -> None:
        """`eight_bits`: the base's weights are rounded to 8 bits. Raises BaseModelError."""
        library = fastest_library(cache)
        if library is None:
            raise BaseModelError(f"The native engine cannot start: {native.NO_COMPILER}.")
        self._library = library
        spec = decoder_spec(base, BACKEND)
        weights = BaseWeights(base, spec, precision)
        activations = library.activations(precision)
        self._model = FusedModel(spec)
        self.eight_bits = eight_bits
        self._format = library.weight_format(_stored_type(weights, precision, eight_bits), activations)
        self.context_tokens = spec.context_tokens
        self._rotary = RotaryTable(spec)
        self._referenced: dict[str, Any] = {}  # objects whose addresses are in the pass
        self._pass = ForwardPass(
            layer_count=spec.layers, hidden_size=spec.hidden_size, heads=spec.heads, kv_heads=spec.kv_heads,
            head_width=spec.head_dim, intermediate_size=spec.intermediate_size, vocabulary_size=spec.vocab_size,
            threads=compute_threads(),
        )  # fmt: skip
        self._pack_weights(weights)
        keys = spec.kv_heads, round_up(spec.head_dim), _BLOCK_SIZE
        values = spec.kv_heads, _BLOCK_SIZE, round_up(spec.head_dim)
        shapes = {f"keys.{layer}": keys for layer in range(spec.layers)}
        shapes |= {f"values.{layer}": values for layer in range(spec.layers)}
        self.pool = BlockPool(_BLOCK_SIZE, shapes, np.dtype(element_type(activations)).itemsize)
        self._bound_reallocations = 0  # reallocations of the pool when the pass got its addresses
        self.kv_cache = PagedCache(self.pool)
        self.adapters = PackedLora(self._model, activations, max_loras)
        release_memory()

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        """Batch-invariant. Sequences with the same adapter are adjacent, which is faster."""
        for chunk in chunks:
            self.pool.extend(chunk.cache, chunk.past + len(chunk.token_ids))
        self._set_chunks(chunks)
        cos, sin = self._rotary.lookup(max(chunk.past + len(chunk.token_ids) for chunk in chunks))
        size = self._pass.hidden_size if hidden else self._model.vocabulary_size
        out = np.empty((self._pass.output_count, size), np.float32)
        self._bind_pool()
        adapters = np.array([adapter.table.ctypes.data for adapter in self.adapters.adapters], np.int64)
        self._point(adapters=adapters, cos=cos, sin=sin, out=out)
        self._pass.returns_hidden = int(hidden)
        if not self._library.run(self._pass, self._format, self._model.spec.norm_eps):
            raise MemoryError(f"{self._pass.token_count} tokens in one pass")
        del self._referenced["out"]
        return out

    def _set_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Points the pass to the tokens, the struct Sequence of each chunk, the block tables and the output rows."""
        slots = [-1 if chunk.lora_slot is None else chunk.lora_slot for chunk in chunks]
        ends, sequences, blocks, ids = [0] * len(chunks), [], list[int](), list[int]()
        for index in sorted(range(len(chunks)), key=slots.__getitem__):
            chunk = chunks[index]
            sequences.append([len(ids), len(chunk.token_ids), chunk.past, len(blocks), slots[index]])
            blocks += chunk.cache[: self.pool.blocks_for(chunk.past + len(chunk.token_ids))]
            ids += chunk.token_ids
            ends[index] = len(ids)
        if min(ids) < 0 or max(ids) >= self._model.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        rows = [row for end, chunk in zip(ends, chunks, strict=True) for row in range(end - chunk.outputs, end)]
        self._point(
            token_ids=np.array(ids, np.int32),
            sequences=np.array(sequences, np.int64),
            block_table=np.array(blocks, np.int32),
            output_rows=np.array(rows, np.int32),
        )
        self._pass.token_count, self._pass.sequence_count = len(ids), len(chunks)
        self._pass.output_count = len(rows)

    def _pack_weights(self, weights: BaseWeights) -> None:
        """Copies all weights into one arena, layer by layer."""
        spec, shapes = self._model.spec, dict(self._model.shapes)
        shapes["gate_up"] = spec.hidden_size, 2 * round_up(spec.intermediate_size, HALF_PANEL)
        per_layer = sum(self._format.size(outputs, inputs) for inputs, outputs in shapes.values())
        count = spec.layers * per_layer + self._format.size(spec.vocab_size, spec.hidden_size)
        arena, embeddings = Arena(count, self._format.dtype), weights.embeddings
        self._point(
            final_norm=_padded_floats(weights.norm),
            layers=np.array([self._pack_layer(weights, layer, arena) for layer in range(spec.layers)], np.int64),
            lm_head=arena.store(self._format.pack(weights.lm_head)),
            embeddings=None if embeddings is None else self._format.embeddings(embeddings),
        )

    def _pack_layer(self, weights: BaseWeights, layer: int, arena: Arena) -> list[int]:
        """The addresses of the struct Layer of `pass.h`."""

        def names(parts: Sequence[str], kind: str = "weight") -> list[str]:
            return [layer_name(layer, f"{part}.{kind}") for part in parts]

        fused = {projection: weights.rows(names(parts)) for projection, parts in PROJECTIONS.items()}
        fused["gate_up"] = gather_rows(fused["gate_up"], interleaved(self._model.spec.intermediate_size))
        packed = {projection: arena.store(self._format.pack(weight)) for projection, weight in fused.items()}
        has_bias = Feature.QKV_BIAS in self._model.spec.features
        fields = [
            _padded_floats(weights.vector(names(["input_layernorm"]))),
            packed["qkv"],
            _padded_floats(weights.vector(names(PROJECTIONS["qkv"], "bias"))) if has_bias else None,
            packed["out"],
            _padded_floats(weights.vector(names(["post_attention_layernorm"]))),
            packed["gate_up"],
            packed["down"],
        ]
        self._referenced.setdefault("layer weights", []).append(fields)
        return [_address(field) for field in fields]

    def _point(self, **fields: Any) -> None:
        """Sets fields of the pass to the addresses of arrays, and keeps those alive."""
        self._referenced |= fields
        for name, value in fields.items():
            setattr(self._pass, name, _address(value))

    def _bind_pool(self) -> None:
        """Update the addresses of the blocks if they have moved."""
        if self._bound_reallocations == self.pool.reallocations:
            return
        for name in ("keys", "values"):
            addresses = [self.pool.data[f"{name}.{layer}"].ctypes.data for layer in range(self._model.depth)]
            self._point(**{name: np.array(addresses, np.int64)})
        self._bound_reallocations = self.pool.reallocations


def _stored_type(
    weights: BaseWeights, precision: Precision, eight_bits: bool
) -> Literal["float32", "bfloat16", "int8"]:
    """8 bits if requested, otherwise bfloat16 if it represents all weight matrices exactly, otherwise `precision`."""
    if eight_bits:
        return "int8"
    return "bfloat16" if weights.fit_bfloat16() else precision


def _address(array: np.ndarray | None) -> int:
    """0 for None."""
    return 0 if array is None else int(array.ctypes.data)


def _padded_floats(vector: np.ndarray) -> np.ndarray:
    """Zero-padded, as panels are."""
    return np.pad(vector, (0, -len(vector) % PANEL))
