"""Training objectives as functions of log-probabilities, which are the only difference between training methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from luthier.training.batching import TrainingExample
from luthier.training.logprobs import PackedBatch


class Objective(Protocol):
    def normalizer(self, examples: Sequence[TrainingExample]) -> float:
        """The divisor of the summed losses of these examples."""

    def loss(self, logprobs: torch.Tensor, batch: PackedBatch, examples: Sequence[TrainingExample]) -> torch.Tensor:
        """The sum of losses; `logprobs` float32 [N] as `log_probabilities` returns it for all their sequences."""

    def accuracy_mask(self, batch: PackedBatch) -> torch.Tensor:
        """bool [N]: the targets that token accuracy counts."""


class Supervised:
    """Cross-entropy, each target scaled by its weight; normalized by the sum of the weights."""

    def normalizer(self, examples: Sequence[TrainingExample]) -> float:
        return float(sum(example.sequences[0].weights[1:].sum(dtype=float) for example in examples))

    def loss(self, logprobs: torch.Tensor, batch: PackedBatch, examples: Sequence[TrainingExample]) -> torch.Tensor:
        return -(logprobs * batch.weights).sum()

    def accuracy_mask(self, batch: PackedBatch) -> torch.Tensor:
        return torch.ones_like(batch.owners, dtype=torch.bool)


@dataclass(frozen=True)
class Preference:
    """DPO (Rafailov et al., 2023): -log sigmoid(beta (reward of the preferred answer - reward of the other)).

    The reward of an answer is its log-probability minus that under the reference model. Token accuracy counts the
    preferred answers.
    """

    beta: float

    def normalizer(self, examples: Sequence[TrainingExample]) -> float:
        return float(len(examples))

    def loss(self, logprobs: torch.Tensor, batch: PackedBatch, examples: Sequence[TrainingExample]) -> torch.Tensor:
        rewards = sequence_logprobs(logprobs, batch, 2 * len(examples)).view(-1, 2)
        rewards = rewards - rewards.new_tensor([example.reference_logprobs for example in examples])
        return -functional.logsigmoid(self.beta * (rewards[:, 0] - rewards[:, 1])).sum()

    def accuracy_mask(self, batch: PackedBatch) -> torch.Tensor:
        return batch.owners % 2 == 0


def sequence_logprobs(logprobs: torch.Tensor, batch: PackedBatch, count: int) -> torch.Tensor:
    """float32 [count]: the weighted log-probability of each sequence."""
    return logprobs.new_zeros(count).index_add(0, batch.owners, logprobs * batch.weights)
