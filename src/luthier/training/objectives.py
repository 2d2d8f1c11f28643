"""What is learnt, as functions of log-probabilities: the whole difference between the methods of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from luthier.training.batching import Item
from luthier.training.logprobs import Batch


class Objective(Protocol):
    def weight(self, items: Sequence[Item]) -> float:
        """What the sum of losses over these items is divided by."""

    def loss(self, found: torch.Tensor, batch: Batch, items: Sequence[Item]) -> torch.Tensor:
        """The sum of losses; `found` float32 [N] as `log_probabilities` gives it for all parts of the items."""

    def counted(self, batch: Batch) -> torch.Tensor:
        """bool [N]: the positions whose accuracy is told."""


class Supervised:
    """Cross-entropy: each trained token by its weight."""

    def weight(self, items: Sequence[Item]) -> float:
        return float(sum(item.parts[0].weights[1:].sum(dtype=float) for item in items))

    def loss(self, found: torch.Tensor, batch: Batch, items: Sequence[Item]) -> torch.Tensor:
        return -(found * batch.weights).sum()

    def counted(self, batch: Batch) -> torch.Tensor:
        return torch.ones_like(batch.owners, dtype=torch.bool)


@dataclass(frozen=True)
class Preference:
    """DPO (Rafailov et al., 2023): -log sigmoid(beta (gain of the preferred answer - gain of the other)).

    A gain is the log-probability of an answer less that before training. Accuracy is of the preferred answer.
    """

    beta: float

    def weight(self, items: Sequence[Item]) -> float:
        return float(len(items))

    def loss(self, found: torch.Tensor, batch: Batch, items: Sequence[Item]) -> torch.Tensor:
        gains = sums(found, batch, 2 * len(items)).view(-1, 2)
        gains = gains - gains.new_tensor([item.reference for item in items])
        return -functional.logsigmoid(self.beta * (gains[:, 0] - gains[:, 1])).sum()

    def counted(self, batch: Batch) -> torch.Tensor:
        return batch.owners % 2 == 0


def sums(found: torch.Tensor, batch: Batch, count: int) -> torch.Tensor:
    """float32 [count]: the weighted log-probability of each conversation."""
    return found.new_zeros(count).index_add(0, batch.owners, found * batch.weights)
