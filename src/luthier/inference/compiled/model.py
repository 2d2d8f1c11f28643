"""The compiled graph of a base model, and passes through it: pieces of several texts, each with its own adapter.

Knows nothing about requests, queues or sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from luthier.inference.adapters import Adapters, Chosen
from luthier.inference.compiled import graph
from luthier.inference.compiled.blocks import TOKENS, Blocks
from luthier.inference.family import GROUPS, Joined, load


@dataclass(frozen=True)
class Part:
    """Some tokens of a text, which lie behind `past` others in its blocks; there is room for them.

    `asked`: of how many of the last of them something is wanted.
    """

    ids: Sequence[int]
    past: int
    blocks: Sequence[int]
    slot: int | None
    asked: int


class Compiled(Joined):
    def __init__(self, base: Path, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        model = load(base, dtype)
        super().__init__(model, torch.device("cpu"))
        self._rotary = model.model.rotary_emb
        compiled = _compile(graph.build(model), dtype)
        self._request = compiled.create_infer_request()
        self.blocks = Blocks([one for one in compiled.inputs if "_cache." in one.any_name])
        self._bound: tuple[int, ...] = ()  # which blocks and adapters the request has

    def run(self, parts: Sequence[Part], adapters: Adapters, hidden: bool) -> torch.Tensor:
        """Logits [N, V] or the last hidden states [N, D] of the tokens that are asked for; good until the next run."""
        ids = np.concatenate([part.ids for part in parts]).astype(np.int32)
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        lengths = [len(part.ids) for part in parts]
        chosen = Chosen(adapters, [part.slot for part in parts])
        self._bind(adapters, chosen)
        given = self._places(parts, lengths)
        ends = np.cumsum(lengths)
        asked = _ints(np.concatenate([np.arange(end - part.asked, end) for end, part in zip(ends, parts, strict=True)]))
        given |= {"ids": ids, "logits_at": asked[:0] if hidden else asked, "hidden_at": asked if hidden else asked[:0]}
        for group in GROUPS:
            given[f"mask.{group}"] = np.repeat(chosen.mask(group).float().numpy(), lengths, axis=0)
        for name, value in given.items():
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.infer()
        return torch.from_numpy(self._request.get_tensor("hidden" if hidden else "logits").data)

    def _places(self, parts: Sequence[Part], lengths: Sequence[int]) -> dict[str, np.ndarray]:
        used = [part.blocks[: -(-(part.past + len(part.ids)) // TOKENS)] for part in parts]
        at = np.concatenate([np.arange(one.past, one.past + len(one.ids)) for one in parts])
        cos, sin = self._rotary(torch.zeros(1), torch.from_numpy(at)[None])  # [1, T, K]
        return {
            "cos": cos[0, :, None, None].numpy(),
            "sin": sin[0, :, None, None].numpy(),
            "past_lens": _ints([part.past for part in parts]),
            "subsequence_begins": _ints(np.cumsum([0, *lengths])),
            "block_indices": _ints(np.concatenate(used)),
            "block_indices_begins": _ints(np.cumsum([0, *map(len, used)])),
            "max_context_len": _ints(at.max() + 1),
        }

    def _bind(self, adapters: Adapters, chosen: Chosen) -> None:
        """Gives the request the blocks, and the factors of the adapters in use where they lie."""
        state = self.blocks.moves, adapters.moves, chosen.first, chosen.count
        if state == self._bound:
            return
        tensors = dict(self.blocks.tensors)
        for index in range(self.depth):
            for group, sizes in self.shapes.items():
                rows = chosen.rows(group)
                factors = adapters.factors[index].get(group) or [
                    torch.empty(0, size, dtype=self.dtype) for size in sizes
                ]
                for name, factor in zip("ab", factors, strict=True):
                    tensors[f"{name}.{index}.{group}"] = graph.tensor(factor[rows])
        for name, value in tensors.items():
            self._request.set_tensor(name, value)
        self._bound = state


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


def _ints(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.int32)
