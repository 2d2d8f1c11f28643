"""LoRA adapters as `forward.cpp` takes them: the factors of all layers in one block of memory for each adapter.

A, joined over the layers of a projection, stands in panels of 16 rows. Of B each panel of 32 outputs has only those
rows that its own layers need: `starts` says where they begin.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.fused_model import FusedModel
from luthier.inference.engines.native.panels import COLUMNS, PART, STEP, Memory, chosen, gated, pack, up
from luthier.inference.memory.lora_slots import Parts, Slots, read
from luthier.types.errors import BaseModelError


class Packed(NamedTuple):
    """`table` int [22]: the struct Adapter of `forward.cpp`; the others are what it points to."""

    table: np.ndarray
    memory: Memory
    starts: list[np.ndarray]


class PackedAdapters(Slots[Packed]):
    def __init__(self, model: FusedModel, most: int) -> None:
        super().__init__(most)
        self._model = model
        self.held: list[Packed] = []

    def load(self, adapter: Path) -> Packed:
        parts = read(adapter, self._model)
        shapes = {group: _Shape(parts, group, self._model) for group in PROJECTIONS}
        blocks = [
            [block for group, shape in shapes.items() for block in shape.packed(layer[group][0])] for layer in parts
        ]
        places = np.cumsum([0, *map(len, blocks[0])]).tolist()
        memory = Memory(len(parts) * places[-1], self._model.dtype)
        for block in chain(*blocks):
            if not block.isfinite().all():
                raise BaseModelError("The adapter cannot be used: some of its weights are not finite numbers.")
            memory.keep(block)
        table = [memory.address, places[-1]]
        for at, shape in enumerate(shapes.values()):
            table += [shape.rank, shape.depth, *places[2 * at : 2 * at + 2], shape.starts.ctypes.data]
        return Packed(np.array(table, np.int64), memory, [shape.starts for shape in shapes.values()])

    def place(self, slot: int, loaded: Packed) -> None:
        self.held[slot:] = [loaded, *self.held[slot + 1 :]]


class _Shape:
    """Of the factors of one group, the same in all layers."""

    def __init__(self, layers: Sequence[Parts], group: str, model: FusedModel) -> None:
        sizes = model.sizes[group]
        parts = zip(*(layer[group][0] for layer in layers), strict=True)
        ranks = [max(len(pair[0]) if pair else 0 for pair in pairs) for pairs in parts]
        self._model, self._group = model, group
        self._offsets = np.cumsum([0, *(up(rank, PART) for rank in ranks)]).tolist()
        self.rank: int = self._offsets[-1]
        total = sum(sizes)
        self._columns = gated(sizes[0]) if group == "gate_up" else torch.arange(total)
        self._columns = torch.cat([self._columns, torch.full((-len(self._columns) % COLUMNS,), -1)])
        part_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        starts, ends = [], []
        for panel in self._columns.view(-1, COLUMNS):
            own = part_of[panel[panel >= 0]]
            starts.append(self._offsets[own.min()])
            ends.append(self._offsets[own.max() + 1])
        self.starts = np.array(starts, np.int64)
        self.depth = up(max(end - start for start, end in zip(starts, ends, strict=True)), STEP)

    def packed(self, parts: list[tuple[torch.Tensor, torch.Tensor] | None]) -> tuple[torch.Tensor, torch.Tensor]:
        """A and B of one layer; nothing for a group without factors."""
        inputs, outputs = self._model.shapes[self._group]
        dtype = self._model.dtype
        if not self.rank:
            return torch.empty(0, dtype=dtype), torch.empty(0, dtype=dtype)
        a = torch.zeros(self.rank, inputs, dtype=dtype)
        b = torch.zeros(outputs, self.rank + self.depth, dtype=dtype)
        column = 0
        for part, size, row in zip(parts, self._model.sizes[self._group], self._offsets, strict=False):
            if part is not None:
                a[row : row + len(part[0])] = part[0]
                b[column : column + size, row : row + len(part[0])] = part[1]
            column += size
        panels = chosen(b, self._columns).view(len(self.starts), COLUMNS, -1)
        own = torch.from_numpy(self.starts)[:, None, None] + torch.arange(self.depth)
        return pack(a, PART), pack(panels.gather(2, own.expand(-1, COLUMNS, -1)).reshape(-1, self.depth))
