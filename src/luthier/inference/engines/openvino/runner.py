"""The openvino engine: one pass of the compiled graph over chunks of several sequences, each with its own adapter."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from luthier.arch.projections import PROJECTIONS
from luthier.hardware import compute_threads
from luthier.inference.engines.model_loading import TorchModel, cpu_dtype, load_decoder
from luthier.inference.engines.openvino import BACKEND, graph
from luthier.inference.engines.rotary_table import RotaryTable
from luthier.inference.engines.stacked_lora import LoraBatch, StackedLora
from luthier.inference.memory.block_pool import NULL_BLOCK, BlockPool
from luthier.inference.memory.paged_cache import PagedCache
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.options import EngineOptions

_BLOCK_SIZE = 32  # tokens: fixed by OpenVINO's paged attention on CPUs
_TOKEN_MULTIPLE = 32  # OpenVINO compiles for each number of tokens anew, and keeps what it compiled
_PADDING = Chunk([0], 0, [NULL_BLOCK], None, 0)


class OpenVINORunner(ModelRunner):
    adapters: StackedLora
    max_prefills = None

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        dtype = cpu_dtype(options, "openvino")
        spec, weights = load_decoder(base, dtype, BACKEND)
        self._model = TorchModel(spec, dtype, torch.device("cpu"))
        self.context_tokens = spec.context_tokens
        self._rotary = RotaryTable(weights)
        # Batch invariance: with fewer sequences, or prefills alone, OpenVINO's attention splits its work differently
        # among the threads and sums in another order. Found by experiment.
        self._min_sequences = max(4, 2 * compute_threads())
        compiled = _compile(graph.build(weights, spec), dtype)
        self._request = compiled.create_infer_request()
        self._ports = {port.any_name: port for port in compiled.inputs}
        shapes = {name: _block_shape(port) for name, port in self._ports.items() if "_cache." in name}
        self._pool = BlockPool(_BLOCK_SIZE, shapes, dtype.itemsize)
        self.kv_cache = PagedCache(self._pool)
        self.adapters = StackedLora(self._model, options.max_loras)
        self._bound: tuple[int, ...] = ()  # identifies the blocks and adapters that the request points to
        self._masked: tuple[object, ...] = ()  # identifies the tokens that its masks are for
        self._inputs: dict[str, np.ndarray] = {}

    def thread_context(self) -> AbstractContextManager[object]:
        return torch.inference_mode()

    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        for chunk in chunks:
            self._pool.extend(chunk.cache, chunk.past + len(chunk.token_ids))
        chunks = self._padded(chunks)
        ids = _int32(np.concatenate([chunk.token_ids for chunk in chunks]))
        if ids.min() < 0 or ids.max() >= self._model.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        lengths = [len(chunk.token_ids) for chunk in chunks]
        self._bind([chunk.lora_slot for chunk in chunks], lengths)
        ends = np.cumsum(lengths)
        outputs = [np.arange(end - chunk.outputs, end) for end, chunk in zip(ends, chunks, strict=True)]
        rows = _int32(np.concatenate(outputs))
        self._set_input("ids", ids)
        self._set_input("logits_at", rows[:0] if hidden else rows)
        self._set_input("hidden_at", rows if hidden else rows[:0])
        self._set_positions(chunks, lengths)
        self._request.infer(share_outputs=True)
        result: np.ndarray = self._request.get_tensor("hidden" if hidden else "logits").data
        return result

    def _padded(self, chunks: Sequence[Chunk]) -> Sequence[Chunk]:
        """With padding sequences, so that there are enough of them and few distinct numbers of tokens."""
        padding = max(1, self._min_sequences - len(chunks))
        tokens = sum(len(chunk.token_ids) for chunk in chunks) + padding
        if tokens > _TOKEN_MULTIPLE:
            padding += -tokens % _TOKEN_MULTIPLE
        return [*chunks, *[_PADDING] * padding]

    def _set_positions(self, chunks: Sequence[Chunk], lengths: Sequence[int]) -> None:
        """Inputs that say where the tokens are in their sequences, and the sequences in the blocks."""
        tables = [chunk.cache[: self._pool.blocks_for(chunk.past + len(chunk.token_ids))] for chunk in chunks]
        positions = np.concatenate([np.arange(chunk.past, chunk.past + len(chunk.token_ids)) for chunk in chunks])
        longest = int(positions.max()) + 1
        for name, table in zip(("cos", "sin"), self._rotary.lookup(longest).numpy(), strict=True):
            self._set_input(name, table[positions][:, None, None])
        self._set_input("past_lens", _int32([chunk.past for chunk in chunks]))
        self._set_input("subsequence_begins", _int32(np.cumsum([0, *lengths])))
        self._set_input("block_indices", _int32(np.concatenate(tables)))
        self._set_input("block_indices_begins", _int32(np.cumsum([0, *map(len, tables)])))
        self._set_input("max_context_len", _int32(longest))

    def _set_input(self, name: str, value: np.ndarray) -> None:
        """Copies into the existing tensor if the shape is the same."""
        current = self._inputs.get(name)
        if current is not None and current.shape == value.shape:
            current[...] = value
            return
        self._inputs[name] = np.array(value)
        self._request.set_tensor(self._ports[name], ov.Tensor(self._inputs[name], shared_memory=value.size > 0))

    def _bind(self, slots: Sequence[int | None], lengths: Sequence[int]) -> None:
        """Sets the masks of this pass, and the memory of blocks and adapters where it has changed."""
        lora = LoraBatch(self.adapters, slots)
        bound = self._pool.reallocations, self.adapters.reallocations, lora.first, lora.count
        masked = *bound, *slots, *lengths
        if masked == self._masked:
            return
        for projection in PROJECTIONS:
            self._set_input(f"mask.{projection}", np.repeat(lora.mask(projection).float().numpy(), lengths, axis=0))
        self._masked = masked
        if bound != self._bound:
            for name, value in (self._cache_tensors() | self._lora_tensors(lora)).items():
                self._request.set_tensor(self._ports[name], value)
            self._bound = bound

    def _cache_tensors(self) -> dict[str, ov.Tensor]:
        return {
            name: ov.Tensor(data, list(data.shape), self._ports[name].element_type)
            for name, data in self._pool.data.items()
        }

    def _lora_tensors(self, lora: LoraBatch) -> dict[str, ov.Tensor]:
        """The factors of the adapters in use, where they are in memory."""
        tensors = {}
        for layer, factors in enumerate(self.adapters.factors):
            for projection, sizes in self._model.shapes.items():
                rows = lora.rows(projection)
                pair = factors.get(projection) or [torch.empty(0, size, dtype=self._model.dtype) for size in sizes]
                for name, factor in zip("ab", pair, strict=True):
                    tensors[f"{name}.{layer}.{projection}"] = graph.tensor(factor[rows])
        return tensors


def _compile(model: ov.Model, dtype: torch.dtype) -> Any:
    precision = {torch.bfloat16: "bf16", torch.float32: "f32"}[dtype]
    return ov.Core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "KV_CACHE_PRECISION": precision,
            "INFERENCE_NUM_THREADS": compute_threads(),
            "ENABLE_CPU_PINNING": False,  # other processes compute here too, training first of all
        },
    )


def _block_shape(port: Any) -> list[int]:
    return [size.get_length() for size in list(port.partial_shape)[1:]]


def _int32(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)
