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
from transformers import AutoModelForCausalLM

from luthier.inference.batched.adapters import Adapters, Chosen
from luthier.inference.batched.llama import GROUPS, fits
from luthier.inference.compiled import graph
from luthier.inference.compiled.blocks import TOKENS, Blocks
from luthier.types.errors import BaseModelError


@dataclass(frozen=True)
class Piece:
    """Some tokens of a text, which lie behind `past` others in its blocks; there is room for them."""

    ids: Sequence[int]
    past: int
    blocks: Sequence[int]
    slot: int | None


class Compiled:
    """`shapes` and `sizes` as `Llama` has them."""

    device = torch.device("cpu")

    def __init__(self, base: Path, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                base, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise BaseModelError(f"The base model {base.name} cannot be loaded: {error}") from error
        if not fits(model.config):
            raise BaseModelError(
                f"The base model {base.name} is not of the Llama family as the openvino engine knows it."
            )
        model.eval().requires_grad_(False)
        self.dtype = dtype
        self.layers = range(len(model.model.layers))
        self.context_tokens: int = model.config.max_position_embeddings
        self.vocabulary_size, self.hidden_size = model.model.embed_tokens.weight.shape
        first = model.model.layers[0]
        linears = {group: [first.get_submodule(name) for name in names] for group, names in GROUPS.items()}
        self.sizes = {group: [one.out_features for one in ones] for group, ones in linears.items()}
        self.shapes = {group: (ones[0].in_features, sum(self.sizes[group])) for group, ones in linears.items()}
        self._rotary = model.model.rotary_emb
        compiled = _compile(graph.build(model), dtype)
        self._request = compiled.create_infer_request()
        self.blocks = Blocks([one for one in compiled.inputs if "_cache." in one.any_name])
        self._bound: tuple[int, ...] = ()  # which blocks and adapters the request has

    def run(
        self, pieces: Sequence[Piece], adapters: Adapters, logits_at: Sequence[int] = (), hidden_at: Sequence[int] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [len(logits_at), V] and last hidden states [len(hidden_at), D] of tokens, counted over all pieces."""
        ids = np.concatenate([piece.ids for piece in pieces]).astype(np.int32)
        if ids.min() < 0 or ids.max() >= self.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        lengths = [len(piece.ids) for piece in pieces]
        chosen = Chosen(adapters, [piece.slot for piece in pieces])
        self._bind(adapters, chosen)
        given = self._places(pieces, lengths)
        given |= {"ids": ids, "logits_at": _ints(logits_at), "hidden_at": _ints(hidden_at)}
        for group in GROUPS:
            given[f"mask.{group}"] = np.repeat(chosen.mask(group).float().numpy(), lengths, axis=0)
        for name, value in given.items():
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.infer()
        logits, hidden = (torch.from_numpy(self._request.get_tensor(name).data.copy()) for name in ("logits", "hidden"))
        return logits, hidden

    def _places(self, pieces: Sequence[Piece], lengths: Sequence[int]) -> dict[str, np.ndarray]:
        used = [piece.blocks[: -(-(piece.past + len(piece.ids)) // TOKENS)] for piece in pieces]
        at = np.concatenate([np.arange(one.past, one.past + len(one.ids)) for one in pieces])
        cos, sin = self._rotary(torch.zeros(1), torch.from_numpy(at)[None])  # [1, T, K]
        return {
            "cos": cos[0, :, None, None].numpy(),
            "sin": sin[0, :, None, None].numpy(),
            "past_lens": _ints([piece.past for piece in pieces]),
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
        for index in self.layers:
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
