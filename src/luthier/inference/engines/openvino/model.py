"""The compiled graph of a base model, and passes through it: pieces of several texts, each with its own adapter.

Knows nothing about requests, queues or sampling.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.fused_model import load_decoder
from luthier.inference.engines.openvino import BACKEND, graph
from luthier.inference.engines.paged import Paged, Part, Rotary
from luthier.inference.memory.block_pool import NOBODYS, Blocks
from luthier.inference.memory.lora_slots import Adapters, Chosen

_TOKENS = 32  # of a block: what OpenVINO's paged attention has on processors
_TOGETHER = 32  # tokens: OpenVINO compiles for each number of them anew, and keeps what it compiled


_NOBODY = Part([0], 0, [NOBODYS], None, 0)


class Compiled(Paged):
    adapters: Adapters

    def __init__(self, base: Path, dtype: torch.dtype, adapters_in_memory: int) -> None:
        """Raises BaseModelError."""
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, torch.device("cpu"))
        self._rotary = Rotary(model)
        # With fewer texts, or prompts alone, OpenVINO's attention divides its work otherwise among the threads and adds
        # up in another order: an answer would be rounded otherwise alone than among others. Found by trying.
        self._fewest = max(4, 2 * torch.get_num_threads())
        compiled = _compile(graph.build(model, spec), dtype)
        self._request = compiled.create_infer_request()
        self._ports = {port.any_name: port for port in compiled.inputs}
        caches = {name: _block(port) for name, port in self._ports.items() if "_cache." in name}
        self.blocks = Blocks(_TOKENS, caches, dtype.itemsize)
        self.adapters = Adapters(self, adapters_in_memory)
        self._bound: tuple[int, ...] = ()  # which blocks and adapters the request has
        self._masked: tuple[object, ...] = ()  # and for which tokens its masks are
        self._given: dict[str, np.ndarray] = {}

    def run(self, parts: Sequence[Part], hidden: bool) -> torch.Tensor:
        parts = self._filled(parts)
        ids = _ints(np.concatenate([part.ids for part in parts]))
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        lengths = [len(part.ids) for part in parts]
        self._bind([part.slot for part in parts], lengths)
        ends = np.cumsum(lengths)
        asked = _ints(np.concatenate([np.arange(end - part.asked, end) for end, part in zip(ends, parts, strict=True)]))
        self._give("ids", ids)
        self._give("logits_at", asked[:0] if hidden else asked)
        self._give("hidden_at", asked if hidden else asked[:0])
        self._place(parts, lengths)
        self._request.infer(share_outputs=True)
        return torch.from_numpy(self._request.get_tensor("hidden" if hidden else "logits").data)

    def _filled(self, parts: Sequence[Part]) -> list[Part]:
        """Tokens that nobody asked for beside them, so that there are enough texts and few numbers of tokens."""
        texts = max(1, self._fewest - len(parts))
        tokens = sum(len(part.ids) for part in parts) + texts
        if tokens > _TOGETHER:
            texts += -tokens % _TOGETHER
        return [*parts, *[_NOBODY] * texts]

    def _place(self, parts: Sequence[Part], lengths: Sequence[int]) -> None:
        """Says where the tokens stand in their texts, and these in the blocks."""
        used = [part.blocks[: -(-(part.past + len(part.ids)) // _TOKENS)] for part in parts]
        at = np.concatenate([np.arange(one.past, one.past + len(one.ids)) for one in parts])
        longest = int(at.max()) + 1
        for name, turn in zip(("cos", "sin"), self._rotary.turns(longest).numpy(), strict=True):
            self._give(name, turn[at][:, None, None])
        self._give("past_lens", _ints([part.past for part in parts]))
        self._give("subsequence_begins", _ints(np.cumsum([0, *lengths])))
        self._give("block_indices", _ints(np.concatenate(used)))
        self._give("block_indices_begins", _ints(np.cumsum([0, *map(len, used)])))
        self._give("max_context_len", _ints(longest))

    def _give(self, name: str, value: np.ndarray) -> None:
        """To the request: where it has room of that shape already, into that."""
        room = self._given.get(name)
        if room is not None and room.shape == value.shape:
            room[...] = value
            return
        self._given[name] = np.array(value)
        self._request.set_tensor(self._ports[name], ov.Tensor(self._given[name], shared_memory=value.size > 0))

    def _bind(self, slots: Sequence[int | None], lengths: Sequence[int]) -> None:
        """Gives the request the blocks, the factors of the adapters in use where they lie, and whose each token is."""
        adapters = self.adapters
        chosen = Chosen(adapters, slots)
        bound = self.blocks.moves, adapters.moves, chosen.first, chosen.count
        masked = *bound, *slots, *lengths
        if masked == self._masked:
            return
        for group in PROJECTIONS:
            self._give(f"mask.{group}", np.repeat(chosen.mask(group).float().numpy(), lengths, axis=0))
        self._masked = masked
        if bound == self._bound:
            return
        tensors = {
            name: ov.Tensor(data, list(data.shape), self._ports[name].element_type)
            for name, data in self.blocks.data.items()
        }
        for index in range(self.depth):
            for group, sizes in self.shapes.items():
                rows = chosen.rows(group)
                factors = adapters.factors[index].get(group) or [
                    torch.empty(0, size, dtype=self.dtype) for size in sizes
                ]
                for name, factor in zip("ab", factors, strict=True):
                    tensors[f"{name}.{index}.{group}"] = graph.tensor(factor[rows])
        for name, value in tensors.items():
            self._request.set_tensor(self._ports[name], value)
        self._bound = bound


def _compile(model: ov.Model, dtype: torch.dtype) -> Any:
    kind = {torch.bfloat16: "bf16", torch.float32: "f32"}[dtype]
    return ov.Core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": kind,
            "KV_CACHE_PRECISION": kind,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # as OMP_NUM_THREADS has it
            "ENABLE_CPU_PINNING": False,  # other programs compute here too, training first of all
        },
    )


def _block(port: Any) -> list[int]:
    return [part.get_length() for part in list(port.partial_shape)[1:]]


def _ints(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)
