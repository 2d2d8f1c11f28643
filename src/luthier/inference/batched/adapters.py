"""LoRA adapters in memory, side by side, so that one pass serves rows of several of them.

For each joined projection the adapters' factors stand under each other: A [S R, D] and B [S R, O], S slots of R rows,
scaling included. A pass takes the rows of the slots in use; what is not a row's own is masked out between the two
products. Reads PEFT folders, safetensors only.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.inference.batched.llama import GROUPS, Llama
from luthier.types.errors import BaseModelError

_PREFIX = "base_model.model.model.layers."
_UNKNOWN = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "layer_replication")


class Adapters:
    """The adapters of one model. Slots are reused longest unused first; memory grows with the slots ever in use."""

    def __init__(self, model: Llama, most: int) -> None:
        self._model, self._most = model, most
        self._slots: dict[Path, int] = {}  # longest unused first
        self.rank = 0  # R: rows of a slot, over all layers of a joined projection
        self.factors: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = [{} for _ in model.layers]

    def slot(self, adapter: Path, busy: Sequence[Path]) -> int:
        """Where the adapter is, loading it if need be; adapters in `busy` stay. Raises BaseModelError."""
        if adapter in self._slots:
            self._slots[adapter] = self._slots.pop(adapter)
            return self._slots[adapter]
        read = _read(adapter, self._model)
        self._make_room(max(rank for layer in read for _, rank in layer.values()))
        slot = self._free_slot(busy)
        for layer, parts in zip(self.factors, read, strict=True):
            for group, (a, b) in layer.items():
                rows = slice(slot * self.rank, (slot + 1) * self.rank)
                a[rows], b[rows] = 0, 0
                self._place(a[rows], b[rows], group, parts[group][0])
        self._slots[adapter] = slot
        return slot

    def _place(
        self, a: torch.Tensor, b: torch.Tensor, group: str, parts: list[tuple[torch.Tensor, torch.Tensor] | None]
    ) -> None:
        """a [R, D] and b [R, O] of one slot from the factors of the layers that were joined."""
        row = column = 0
        for part, size in zip(parts, self._model.sizes[group], strict=True):
            if part is not None:
                rank = len(part[0])
                a[row : row + rank] = part[0]
                b[row : row + rank, column : column + size] = part[1].T
                row += rank
            column += size

    def _make_room(self, rank: int) -> None:
        """Slots of at least `rank` rows; those that are there are spread out."""
        if rank <= self.rank:
            return
        slots = len(self._slots)
        for index, layer in enumerate(self.factors):
            for group, (inputs, outputs) in self._model.shapes.items():
                a, b = layer.get(group) or (self._new(0, inputs), self._new(0, outputs))
                wider = self._new(slots * rank, inputs), self._new(slots * rank, outputs)
                for slot in range(slots):
                    for old, new in zip((a, b), wider, strict=True):
                        new[slot * rank : slot * rank + self.rank] = old[slot * self.rank : (slot + 1) * self.rank]
                self.factors[index][group] = wider
        self.rank = rank

    def _free_slot(self, busy: Sequence[Path]) -> int:
        idle = next((path for path in self._slots if path not in busy), None)
        if len(self._slots) >= self._most and idle is not None:
            return self._slots.pop(idle)
        for layer in self.factors:
            for group, (a, b) in layer.items():
                more = self._new(self.rank, a.shape[1]), self._new(self.rank, b.shape[1])
                layer[group] = torch.cat([a, more[0]]), torch.cat([b, more[1]])
        return len(self._slots)

    def _new(self, rows: int, columns: int) -> torch.Tensor:
        return torch.zeros(rows, columns, dtype=self._model.dtype, device=self._model.device)


class Chosen:
    """The adapters of one pass: for each row of the batch its slot, or None for the base."""

    def __init__(self, adapters: Adapters, slots: Sequence[int | None]) -> None:
        used = sorted({slot for slot in slots if slot is not None})
        self._adapters, self.any = adapters, bool(used)
        if not used:
            return
        first, count, rank = used[0], used[-1] - used[0] + 1, adapters.rank
        self._rows = slice(first * rank, (first + count) * rank)
        own = torch.zeros(len(slots), count, 1, dtype=adapters._model.dtype, device=adapters._model.device)
        for row, slot in enumerate(slots):
            if slot is not None:
                own[row, slot - first] = 1
        alike = len(used) == 1 and None not in slots
        self._mask = None if alike else own.expand(-1, -1, rank).reshape(len(slots), -1)

    def add(self, out: torch.Tensor, x: torch.Tensor, layer: int, group: str) -> torch.Tensor:
        """out [B, O] += what the adapters make of x [B, D]; in a prefill the one row stands for all tokens."""
        if not self.any:
            return out
        a, b = self._adapters.factors[layer][group]
        low = x @ a[self._rows].T
        if self._mask is not None:
            low = low * self._mask
        return out.addmm_(low, b[self._rows])


_Parts = dict[str, tuple[list[tuple[torch.Tensor, torch.Tensor] | None], int]]


def _read(folder: Path, model: Llama) -> list[_Parts]:
    """For each layer and group: (A [r, D], scaled B [O, r]) of each joined layer, and the sum of the ranks."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(f"The adapter cannot be read: adapter_config.json or its weights: {error}") from error
    unknown = [name for name in _UNKNOWN if config.get(name)]
    if unknown or config.get("bias", "none") != "none":
        raise BaseModelError(f"The adapter uses {', '.join(unknown) or 'bias'}, which this engine does not know.")
    left = set(weights)
    made = []
    for layer in range(len(model.layers)):
        parts: _Parts = {}
        for group, names in GROUPS.items():
            found = [_factors(weights, left, f"{_PREFIX}{layer}.{name}", config) for name in names]
            parts[group] = found, sum(len(pair[0]) for pair in found if pair)
        made.append(parts)
    if left:
        raise BaseModelError(f"The adapter has weights that this engine does not know, such as {sorted(left)[0]}.")
    return made


def _factors(
    weights: dict[str, torch.Tensor], left: set[str], name: str, config: dict[str, object]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    keys = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
    if keys[0] not in weights:
        return None
    left.difference_update(keys)
    a, b = weights[keys[0]], weights[keys[1]]
    rank = len(a)
    alpha = _pattern(config.get("alpha_pattern"), name, config["lora_alpha"])
    return a, b * (alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def _pattern(patterns: object, name: str, otherwise: object) -> float:
    """PEFT's patterns name modules by the end of their path."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, dict) else ():
        if name.endswith(str(pattern)):
            return float(value)
    return float(str(otherwise))
