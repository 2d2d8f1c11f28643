"""LoRA adapters in the layout of `forward.cpp`: the factors of all layers in one block of memory per adapter.

A, fused over the linear layers of a projection, stands in panels of 16 rows. Of B each panel of 32 outputs has only
the rows of its own linear layers; `starts` says where they begin.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from luthier.arch.projections import PROJECTIONS
from luthier.devices import Precision
from luthier.inference.engines import bfloat16
from luthier.inference.engines.fused_model import FusedModel
from luthier.inference.engines.native import panels
from luthier.inference.engines.native.panels import HALF_PANEL, INPUT_MULTIPLE, PANEL, Arena, pack, round_up
from luthier.inference.engines.peft_adapter import LayerFactors, LoraFactors, read_adapter
from luthier.inference.memory.lora_slots import LoraSlots
from luthier.types.errors import BaseModelError


class PackedAdapter(NamedTuple):
    """`table` int64 [22]: the struct Adapter of `pass.h`, which points into the others."""

    table: np.ndarray
    arena: Arena
    starts: list[np.ndarray]


class PackedLora(LoraSlots[PackedAdapter]):
    def __init__(self, model: FusedModel, precision: Precision, max_loras: int) -> None:
        """`precision`: of the factors."""
        super().__init__(max_loras)
        self._model, self._dtype = model, panels.element_type(precision)
        self.adapters: list[PackedAdapter] = []  # by slot

    def load(self, adapter: Path) -> PackedAdapter:
        layers = read_adapter(adapter, self._model)
        layouts = {projection: _Layout(layers, projection, self._model, self._dtype) for projection in PROJECTIONS}
        packed = [[part for name, layout in layouts.items() for part in layout.pack(layer[name])] for layer in layers]
        offsets = np.cumsum([0, *map(len, packed[0])]).tolist()
        arena = Arena(len(layers) * offsets[-1], self._dtype)
        for part in chain(*packed):
            if not np.isfinite(bfloat16.widened(part)).all():
                raise BaseModelError("The adapter cannot be used: some of its weights are not finite numbers.")
            arena.store(part)
        table = [arena.address, offsets[-1]]
        for index, layout in enumerate(layouts.values()):
            a_and_b = offsets[2 * index : 2 * index + 2]
            table += [layout.rank, layout.panel_rank, *a_and_b, layout.starts.ctypes.data]
        return PackedAdapter(np.array(table, np.int64), arena, [layout.starts for layout in layouts.values()])

    def store(self, slot: int, weights: PackedAdapter) -> None:
        self.adapters[slot:] = [weights, *self.adapters[slot + 1 :]]


class _Layout:
    """Of the factors of one projection, the same in all layers.

    `rank`: rows of A; `panel_rank`: rows of B in each of its panels.
    """

    def __init__(self, layers: Sequence[LayerFactors], projection: str, model: FusedModel, dtype: type) -> None:
        """`dtype`: of the packed factors, as `panels.element_type` gives it."""
        sizes = model.sizes[projection]
        parts_of_layers = zip(*(layer[projection] for layer in layers), strict=True)
        ranks = [max(part.rank if part else 0 for part in parts) for parts in parts_of_layers]
        self._model, self._projection, self._dtype = model, projection, dtype
        self._offsets = np.cumsum([0, *(round_up(rank, HALF_PANEL) for rank in ranks)]).tolist()
        self.rank: int = self._offsets[-1]
        columns = panels.interleaved(sizes[0]) if projection == "gate_up" else np.arange(sum(sizes))
        self._columns = np.concatenate([columns, np.full(-len(columns) % PANEL, -1)])
        linear_of_column = np.repeat(np.arange(len(sizes)), sizes)
        starts, ends = [], []
        for panel in self._columns.reshape(-1, PANEL):
            linears = linear_of_column[panel[panel >= 0]]
            starts.append(self._offsets[linears.min()])
            ends.append(self._offsets[linears.max() + 1])
        self.starts = np.array(starts, np.int64)
        longest = max(end - start for start, end in zip(starts, ends, strict=True))
        self._multiple = INPUT_MULTIPLE if dtype == np.uint16 else HALF_PANEL  # of the rows of B
        self.panel_rank = round_up(longest, self._multiple)

    def pack(self, parts: list[LoraFactors | None]) -> tuple[np.ndarray, np.ndarray]:
        """A and B of one layer; empty for a projection without factors."""
        inputs, outputs = self._model.shapes[self._projection]
        dtype = self._dtype
        if not self.rank:
            return np.empty(0, dtype), np.empty(0, dtype)
        a = np.zeros((self.rank, inputs), np.float32)
        b = np.zeros((outputs, self.rank + self.panel_rank), np.float32)
        column = 0
        for part, size, row in zip(parts, self._model.sizes[self._projection], self._offsets, strict=False):
            if part is not None:
                a[row : row + part.rank] = part.a
                b[column : column + size, row : row + part.rank] = part.b
            column += size
        by_panel = panels.gather_rows(b, self._columns).reshape(len(self.starts), PANEL, -1)
        rows = self.starts[:, None, None] + np.arange(self.panel_rank)
        own_rows = np.take_along_axis(by_panel, np.broadcast_to(rows, (*by_panel.shape[:2], self.panel_rank)), 2)
        factors = a, own_rows.reshape(-1, self.panel_rank)
        if dtype == np.uint16:
            factors = bfloat16.rounded(factors[0]), bfloat16.rounded(factors[1])
        return pack(factors[0], HALF_PANEL), pack(factors[1], multiple=self._multiple)
