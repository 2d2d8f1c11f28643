"""Multi-LoRA: the factors of all loaded adapters stacked, so that one pass serves rows with different adapters.

Per fused projection, A [S R, D] and B [S R, O]: S slots of R rows, R being the projection's largest rank. A pass
multiplies with the slots in use and, between the two products, masks the slots that are not a row's own adapter.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.model_loading import TorchModel
from luthier.inference.engines.peft_adapter import LayerFactors, LoraFactors, read_adapter, total_rank
from luthier.inference.memory.lora_slots import LoraSlots


class StackedLora(LoraSlots[list[LayerFactors]]):
    """`factors`: per layer and projection, (A, B)."""

    def __init__(self, model: TorchModel, max_loras: int) -> None:
        super().__init__(max_loras)
        self.model, self._count = model, 0
        self.ranks = dict.fromkeys(PROJECTIONS, 0)  # R
        self.factors: list[dict[str, tuple[torch.Tensor, torch.Tensor]]] = [{} for _ in range(model.depth)]

    def load(self, adapter: Path) -> list[LayerFactors]:
        return read_adapter(adapter, self.model)

    def store(self, slot: int, weights: list[LayerFactors]) -> None:
        for projection in PROJECTIONS:
            self._reserve_rank(projection, max(total_rank(layer[projection]) for layer in weights))
        if slot == self._count:
            self._add_slot()
        for stacked, layer in zip(self.factors, weights, strict=True):
            for projection, (a, b) in stacked.items():
                rows = slice(slot * self.ranks[projection], (slot + 1) * self.ranks[projection])
                a[rows], b[rows] = 0, 0
                self._write(a[rows], b[rows], projection, layer[projection])

    def _write(self, a: torch.Tensor, b: torch.Tensor, projection: str, parts: list[LoraFactors | None]) -> None:
        """a [R, D] and b [R, O] of one slot, block-diagonal over the linear layers of the projection."""
        row = column = 0
        for part, outputs in zip(parts, self.model.sizes[projection], strict=True):
            if part is not None:
                a[row : row + part.rank] = torch.from_numpy(part.a)
                b[row : row + part.rank, column : column + outputs] = torch.from_numpy(part.b).T
                row += part.rank
            column += outputs

    def _reserve_rank(self, projection: str, rank: int) -> None:
        """Slots of at least `rank` rows; the existing ones are spread out."""
        old_rank, slots = self.ranks[projection], self._count
        if rank <= old_rank:
            return
        widened = []
        for layer in self.factors:
            old = layer.get(projection) or [self._zeros(0, columns) for columns in self.model.shapes[projection]]
            a, b = (self._zeros(slots * rank, part.shape[1]) for part in old)
            for part, wider in zip(old, (a, b), strict=True):
                wider.view(slots, rank, part.shape[1])[:, :old_rank] = part.view(slots, old_rank, part.shape[1])
            widened.append((a, b))
        for layer, pair in zip(self.factors, widened, strict=True):
            layer[projection] = pair
        self.ranks[projection] = rank

    def _add_slot(self) -> None:
        self.factors = [
            {
                projection: tuple(torch.cat([part, self._zeros(rank, part.shape[1])]) for part in pair)  # type: ignore[misc]
                for projection, pair in layer.items()
                for rank in [self.ranks[projection]]
            }
            for layer in self.factors
        ]
        self._count += 1

    def _zeros(self, rows: int, columns: int) -> torch.Tensor:
        return torch.zeros(rows, columns, dtype=self.model.dtype, device=self.model.device)


class LoraBatch:
    """The adapters of one pass: the slot of each row, or None for the base model."""

    def __init__(self, stacked: StackedLora, slots: Sequence[int | None]) -> None:
        used = sorted({slot for slot in slots if slot is not None})
        self._stacked, self._slots, self.any = stacked, slots, bool(used)
        self.first, self.count = (used[0], used[-1] - used[0] + 1) if used else (0, 0)
        self._masks: dict[int, torch.Tensor] = {}
        self._uniform = len(used) == 1 and None not in slots

    def rows(self, projection: str) -> slice:
        """The rows of the stacked factors from the first to the last slot in use."""
        rank = self._stacked.ranks[projection]
        return slice(self.first * rank, (self.first + self.count) * rank)

    def mask(self, projection: str) -> torch.Tensor:
        """[B, rows]: 1 at the row's own adapter."""
        rank, model = self._stacked.ranks[projection], self._stacked.model
        if rank not in self._masks:
            mask = torch.zeros(len(self._slots), self.count, rank, dtype=model.dtype)
            for row, slot in enumerate(self._slots):
                if slot is not None:
                    mask[row, slot - self.first] = 1
            self._masks[rank] = mask.view(len(self._slots), -1).to(model.device)
        return self._masks[rank]

    def share(self, x: torch.Tensor, layer: int, projection: str) -> torch.Tensor | None:
        """The adapters' share of a projection: x [B, D] -> [B, O], in a prefill with one mask row for all tokens.

        None where there is none.
        """
        if not self.any or not self._stacked.ranks[projection]:
            return None
        a, b = self._stacked.factors[layer][projection]
        rows = self.rows(projection)
        low = functional.linear(x, a[rows])
        if not self._uniform:
            low = low * self.mask(projection)
        if len(x) > 1:
            return low @ b[rows]
        # For batch invariance: the product of a single row would be rounded differently than in a batch.
        return (low.expand(2, -1) @ b[rows])[:1]
