"""LoRA adapters in memory, side by side, so that one pass serves rows of several of them.

For each joined projection the adapters' factors stand under each other: A [S R, D] and B [S R, O], S slots of R rows,
scaling included; R is the projection's own. A pass takes the rows of the slots in use; what is not a row's own is
masked out between the two products. Reads PEFT folders, safetensors only.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional

from luthier.arch.projections import PROJECTIONS
from luthier.hardware import give_back
from luthier.inference.engines.fused_model import FusedModel
from luthier.types.errors import BaseModelError

_PREFIX = "base_model.model.model.layers."
_UNKNOWN = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "layer_replication")


# For each group: A [r, D] and scaled B [O, r] of each joined layer, None where it has none; and the sum of the ranks.
Parts = dict[str, tuple[list[tuple[torch.Tensor, torch.Tensor] | None], int]]
Loaded = TypeVar("Loaded")


class Slots(ABC, Generic[Loaded]):
    """The adapters of one model. Slots are reused longest unused first; there are as many as were ever in use."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: dict[Path, int] = {}  # longest unused first

    @abstractmethod
    def load(self, adapter: Path) -> Loaded:
        """Raises BaseModelError."""

    @abstractmethod
    def place(self, slot: int, loaded: Loaded) -> None:
        """Into a slot; the first that is not there yet is a new one."""

    def slot(self, adapter: Path, busy: Sequence[Path]) -> int:
        """Where the adapter is, loading it if need be; adapters in `busy` stay. Raises BaseModelError."""
        if adapter in self._slots:
            self._slots[adapter] = self._slots.pop(adapter)
            return self._slots[adapter]
        loaded = self.load(adapter)
        slot = self._free_slot(busy)
        self.place(slot, loaded)
        self._slots[adapter] = slot
        del loaded
        give_back()  # the file's weights, and what the factors were in before they grew
        return slot

    def _free_slot(self, busy: Sequence[Path]) -> int:
        """One that nobody has; that of an idle adapter is taken from it, whatever becomes of the new one."""
        idle = next((path for path in self._slots if path not in busy), None)
        if len(self._slots) >= self._most and idle is not None:
            del self._slots[idle]
        return min(set(range(len(self._slots) + 1)) - set(self._slots.values()))


class Adapters(Slots[list[Parts]]):
    """`moves`: how often the factors were put into other memory."""

    moves = 0

    def __init__(self, model: FusedModel, most: int) -> None:
        super().__init__(most)
        self.model, self._count = model, 0
        self.ranks = dict.fromkeys(PROJECTIONS, 0)  # R: rows of a slot, over all layers of a joined projection
        self.factors: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = [{} for _ in range(model.depth)]

    def load(self, adapter: Path) -> list[Parts]:
        return read(adapter, self.model)

    def place(self, slot: int, loaded: list[Parts]) -> None:
        for group in PROJECTIONS:
            self._make_room(group, max(layer[group][1] for layer in loaded))
        if slot == self._count:
            self._add_slot()
        for layer, parts in zip(self.factors, loaded, strict=True):
            for group, (a, b) in layer.items():
                rows = slice(slot * self.ranks[group], (slot + 1) * self.ranks[group])
                a[rows], b[rows] = 0, 0
                self._place(a[rows], b[rows], group, parts[group][0])

    def _place(
        self, a: torch.Tensor, b: torch.Tensor, group: str, parts: list[tuple[torch.Tensor, torch.Tensor] | None]
    ) -> None:
        """a [R, D] and b [R, O] of one slot from the factors of the layers that were joined."""
        row = column = 0
        for part, size in zip(parts, self.model.sizes[group], strict=True):
            if part is not None:
                rank = len(part[0])
                a[row : row + rank] = part[0]
                b[row : row + rank, column : column + size] = part[1].T
                row += rank
            column += size

    def _make_room(self, group: str, rank: int) -> None:
        """Slots of at least `rank` rows; those that are there are spread out."""
        have, slots = self.ranks[group], self._count
        if rank <= have:
            return
        made = []
        for layer in self.factors:
            old = layer.get(group) or [self._new(0, columns) for columns in self.model.shapes[group]]
            a, b = (self._new(slots * rank, part.shape[1]) for part in old)
            for part, wider in zip(old, (a, b), strict=True):
                wider.view(slots, rank, part.shape[1])[:, :have] = part.view(slots, have, part.shape[1])
            made.append((a, b))
        for layer, pair in zip(self.factors, made, strict=True):
            layer[group] = pair
        self.ranks[group] = rank
        self.moves += 1

    def _add_slot(self) -> None:
        self.factors = [
            {
                group: (torch.cat([a, self._new(rank, a.shape[1])]), torch.cat([b, self._new(rank, b.shape[1])]))
                for group, (a, b) in layer.items()
                for rank in [self.ranks[group]]
            }
            for layer in self.factors
        ]
        self._count += 1
        self.moves += 1

    def _new(self, rows: int, columns: int) -> torch.Tensor:
        return torch.zeros(rows, columns, dtype=self.model.dtype, device=self.model.device)


class Chosen:
    """The adapters of one pass: for each row of the batch its slot, or None for the base."""

    def __init__(self, adapters: Adapters, slots: Sequence[int | None]) -> None:
        used = sorted({slot for slot in slots if slot is not None})
        self._adapters, self._slots, self.any = adapters, slots, bool(used)
        self.first, self.count = (used[0], used[-1] - used[0] + 1) if used else (0, 0)
        self._masks: dict[int, torch.Tensor] = {}
        self._alike = len(used) == 1 and None not in slots

    def rows(self, group: str) -> slice:
        """Of the factors: the slots in use, and those between them."""
        rank = self._adapters.ranks[group]
        return slice(self.first * rank, (self.first + self.count) * rank)

    def mask(self, group: str) -> torch.Tensor:
        """[B, rows]: 1 where a row's own adapter stands."""
        rank, model = self._adapters.ranks[group], self._adapters.model
        if rank not in self._masks:
            own = torch.zeros(len(self._slots), self.count, rank, dtype=model.dtype)
            for row, slot in enumerate(self._slots):
                if slot is not None:
                    own[row, slot - self.first] = 1
            self._masks[rank] = own.view(len(self._slots), -1).to(model.device)
        return self._masks[rank]

    def add(self, out: torch.Tensor, x: torch.Tensor, layer: int, group: str) -> torch.Tensor:
        """out [B, O] and what the adapters make of x [B, D]; in a prefill the one row stands for all tokens."""
        if not self.any or not self._adapters.ranks[group]:
            return out
        a, b = self._adapters.factors[layer][group]
        rows = self.rows(group)
        low = functional.linear(x, a[rows])
        if not self._alike:
            low = low * self.mask(group)
        if len(out) > 1:
            return out.addmm_(low, b[rows])
        # A row alone would be rounded otherwise than among others.
        return torch.addmm(out.expand(2, -1), low.expand(2, -1), b[rows])[:1]


def read(folder: Path, model: FusedModel) -> list[Parts]:
    """The factors of each layer. Raises BaseModelError."""
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
    for layer in range(model.depth):
        parts: Parts = {}
        for group, names in PROJECTIONS.items():
            found = [_factors(weights, left, f"{_PREFIX}{layer}.{name}", config) for name in names]
            for pair, size in zip(found, model.sizes[group], strict=True):
                if pair and (pair[0].shape[1], *pair[1].shape) != (model.shapes[group][0], size, len(pair[0])):
                    raise BaseModelError(
                        f"The adapter is broken or made for another base model: its {group} differ in size."
                    )
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
