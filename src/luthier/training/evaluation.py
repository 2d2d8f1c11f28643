"""Validation during training: loss and token accuracy on the validation file."""

from collections.abc import Iterable
from functools import partial
from threading import Event

import torch

from luthier.training.forward_pass import ForwardPass, MicroBatch, in_chunks
from luthier.training.hyperparameters import ResolvedHyperparameters
from luthier.training.objectives import Objective
from luthier.training.ranks import Ranks
from luthier.training.thread_shares import run_in_threads
from luthier.training.training_data import TrainingData
from luthier.types.job_options import step_at

_VALIDATE_EVERY = 10  # steps between losses on one batch; the whole file at the end of each epoch


class TokenAccuracy:
    """The fraction of targets that were the most likely token."""

    def __init__(self) -> None:
        self._correct = self._total = 0

    def add(self, is_top: torch.Tensor, mask: torch.Tensor) -> None:
        self._correct += int((is_top & mask).sum())
        self._total += int(mask.sum())

    def counts(self) -> tuple[int, int]:
        """The number of targets that were the most likely token, and of all targets."""
        return self._correct, self._total


class Validation:
    """`fractions`: fractions of the total steps after which the whole file is evaluated, besides the ends of epochs."""

    def __init__(
        self,
        data: TrainingData,
        forward: ForwardPass,
        objective: Objective,
        plan: ResolvedHyperparameters,
        fractions: tuple[float, ...],
        stop: Event,
        ranks: Ranks,
    ) -> None:
        self._data, self._forward, self._objective, self._plan = data, forward, objective, plan
        self._stop, self._ranks = stop, ranks
        self._full_at = {step_at(fraction, plan.total_steps) for fraction in fractions}

    def after_step(self, step: int) -> dict[str, float]:
        """The metrics that are due after `step`; none without a validation file. Raises Stopped."""
        count = self._data.validation_count
        metrics: dict[str, float] = {}
        if not count:
            return metrics
        if step % _VALIDATE_EVERY == 0:
            size = min(self._plan.batch_size, count)
            start = (step // _VALIDATE_EVERY - 1) * size % count
            metrics |= self._evaluate("valid", range(start, min(start + size, count)))
        if self._plan.ends_epoch(step) or step in self._full_at:
            metrics |= self._evaluate("full_valid", range(count))
        return metrics

    def _evaluate(self, prefix: str, indices: range) -> dict[str, float]:
        normalizer, sums = 0.0, torch.zeros(3, dtype=torch.float64)
        for examples in in_chunks(self._data, "valid", indices, self._stop, self._ranks):
            normalizer += self._objective.normalizer(examples)
            for share in run_in_threads(
                [partial(self._sums, share) for share in self._forward.thread_shares(examples)]
            ):
                sums += share
        sums = sums.to(self._forward.model.compute.device)
        self._ranks.sum_(sums)
        loss, correct, total = sums.tolist()
        return named_metrics(prefix, loss / normalizer, correct / total)

    @torch.no_grad()
    def _sums(self, micro_batches: Iterable[MicroBatch]) -> torch.Tensor:
        """float64 [3]: the loss, the correct and all targets."""
        loss, accuracy = 0.0, TokenAccuracy()
        for micro in micro_batches:
            loss += float(self._objective.loss(micro.logprobs, micro.packed, micro.examples))
            accuracy.add(micro.is_top, self._objective.accuracy_mask(micro.packed))
        return torch.tensor([loss, *accuracy.counts()], dtype=torch.float64)


def named_metrics(prefix: str, loss: float, accuracy: float) -> dict[str, float]:
    return {f"{prefix}_loss": loss, f"{prefix}_mean_token_accuracy": accuracy}
