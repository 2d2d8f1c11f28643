"""A model of the Llama family as `forward.cpp` takes it, and passes through it.

Knows nothing about requests, queues or sampling.
"""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier import native
from luthier.arch.projections import PROJECTIONS
from luthier.hardware import give_back
from luthier.inference.engines.fused_model import load_decoder
from luthier.inference.engines.native import BACKEND
from luthier.inference.engines.native.adapters import PackedAdapters
from luthier.inference.engines.native.panels import COLUMNS, PART, Memory, chosen, gated, pack, size, up
from luthier.inference.engines.paged import Paged, Part, Rotary
from luthier.inference.memory.block_pool import Blocks
from luthier.settings import DEFAULT_CACHE
from luthier.types.errors import BaseModelError

_SOURCES = tuple(Path(__file__).with_name(name) for name in ("forward.cpp", "formats.h"))
_BLOCK = 64  # tokens


_FIELDS = (
    *("depth", "width", "heads", "groups", "head", "inner", "words", "layers", "norm", "output", "embeddings"),
    *("cos", "sin", "keys", "values", "adapters", "tokens", "texts", "ids", "text", "blocks", "asked", "hidden"),
    *("rows", "made", "threads"),
)


class _Pass(ctypes.Structure):
    """The struct Pass of `forward.cpp`: numbers and addresses."""

    _fields_ = tuple((name, ctypes.c_int64) for name in _FIELDS)


def missing(dtype: torch.dtype, cache: Path = DEFAULT_CACHE) -> str | None:
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


class Native(Paged):
    adapters: PackedAdapters

    def __init__(self, base: Path, dtype: torch.dtype, adapters_in_memory: int, cache: Path = DEFAULT_CACHE) -> None:
        """Raises BaseModelError."""
        self._cache = cache
        if why := missing(dtype, cache):
            raise BaseModelError(f"The native engine cannot start: {why}.")
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, torch.device("cpu"))
        heads, groups, width = spec.heads, spec.kv_heads, spec.head_dim
        self._epsilon = spec.norm_eps
        self._rotary = Rotary(model)
        self._kept: dict[str, Any] = {}  # what the pass has addresses of
        self._moves = 0  # of the blocks, so far
        self._pass = _Pass(
            depth=self.depth, width=spec.hidden_size, heads=heads, groups=groups, head=width,
            inner=self.shapes["down"][0], words=self.vocabulary_size, threads=torch.get_num_threads(),
        )  # fmt: skip
        shapes = {**self.shapes, "gate_up": (spec.hidden_size, 2 * up(spec.intermediate_size, PART))}
        of_layer = sum(size(outputs, inputs) for inputs, outputs in shapes.values())
        count = self.depth * of_layer + size(self.vocabulary_size, spec.hidden_size)
        self._memory = Memory(count, dtype)
        self._give(norm=_floats(model.model.norm.weight), layers=self._layers(model.model.layers))
        tied = model.lm_head.weight is model.model.embed_tokens.weight
        self._give(
            output=self._memory.keep(pack(model.lm_head.weight)),
            embeddings=None if tied else model.model.embed_tokens.weight,
        )
        shape = {"keys": (groups, up(width), _BLOCK), "values": (groups, _BLOCK, up(width))}
        caches = {f"{name}.{layer}": shape[name] for name in shape for layer in range(self.depth)}
        self.blocks = Blocks(_BLOCK, caches, dtype.itemsize)
        self.adapters = PackedAdapters(self, adapters_in_memory)
        del model
        give_back()

    def run(self, parts: Sequence[Part], hidden: bool) -> torch.Tensor:
        """A text's numbers are the same whatever the others; those of one adapter stand together, which is quicker."""
        slots = [-1 if part.slot is None else part.slot for part in parts]
        order = sorted(range(len(parts)), key=slots.__getitem__)
        begins, text, blocks, ids = [0] * len(parts), [], list[int](), list[int]()
        for at in order:
            part = parts[at]
            begins[at] = len(ids)
            text.append([len(ids), len(part.ids), part.past, len(blocks), slots[at]])
            blocks += part.blocks[: -(-(part.past + len(part.ids)) // _BLOCK)]
            ids += part.ids
        if min(ids) < 0 or max(ids) >= self.vocabulary_size:
            raise IndexError("a token is not in the model's vocabulary")
        ends = [begin + len(part.ids) for begin, part in zip(begins, parts, strict=True)]
        rows = [row for end, part in zip(ends, parts, strict=True) for row in range(end - part.asked, end)]
        made = torch.empty(len(rows), self._pass.width if hidden else self.vocabulary_size, dtype=torch.float32)
        cos, sin = self._rotary.turns(max(part.past + len(part.ids) for part in parts))
        self._bind()
        self._give(
            adapters=np.array([held.table.ctypes.data for held in self.adapters.held], np.int64),
            **{name: np.array(value, np.int32) for name, value in (("ids", ids), ("blocks", blocks), ("rows", rows))},
            text=np.array(text, np.int64),
            cos=cos,
            sin=sin,
            made=made,
        )
        self._pass.tokens, self._pass.texts = len(ids), len(parts)
        self._pass.asked, self._pass.hidden = len(rows), int(hidden)
        function: Any = _library(self._cache)
        half = ctypes.c_int64(self.dtype == torch.bfloat16)
        if not function.luthier_forward(half, ctypes.c_float(self._epsilon), ctypes.byref(self._pass)):
            raise MemoryError(f"{len(ids)} tokens in one pass")
        del self._kept["made"]
        return made

    def _layers(self, layers: Any) -> np.ndarray:
        """The addresses of each layer's weights, as the struct Layer has them; the model's own are let go."""
        made, keep = [], self._memory.keep
        for layer in layers:
            linears = {group: [layer.get_submodule(name) for name in names] for group, names in PROJECTIONS.items()}
            joined = {group: torch.cat([one.weight for one in ones]) for group, ones in linears.items()}
            joined["gate_up"] = chosen(joined["gate_up"], gated(linears["down"][0].in_features))
            qkv, out, gate_up, down = (keep(pack(joined[group])) for group in PROJECTIONS)
            bias = None if linears["qkv"][0].bias is None else _floats(torch.cat([one.bias for one in linears["qkv"]]))
            norms = [_floats(norm.weight) for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
            kept = [norms[0], qkv, bias, out, norms[1], gate_up, down]
            self._kept.setdefault("weights", []).append(kept)
            made.append([native.argument(one).value or 0 for one in kept])
            for ones in linears.values():
                for one in ones:
                    one.weight.data = one.weight.new_empty(0)
        return np.array(made, np.int64)

    def _give(self, **given: Any) -> None:
        """To the pass: the addresses of tensors or arrays, which are kept as long."""
        for name, value in given.items():
            self._kept[name] = value
            setattr(self._pass, name, native.argument(value).value or 0)

    def _bind(self) -> None:
        """Where the blocks are, if they were put into other memory."""
        if self._moves == self.blocks.moves:
            return
        for name in ("keys", "values"):
            data = [self.blocks.data[f"{name}.{layer}"].ctypes.data for layer in range(self.depth)]
            self._give(**{name: np.array(data, np.int64)})
        self._moves = self.blocks.moves


def _floats(vector: torch.Tensor) -> torch.Tensor:
    """In float32 and filled up with zeros, as panels are."""
    return torch.nn.functional.pad(vector.float(), (0, -len(vector) % COLUMNS))
