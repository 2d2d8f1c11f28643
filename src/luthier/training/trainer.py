"""The training loop: optimizer steps, and after each of them validation, metrics, checkpoints and the resume state."""

import gc
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from threading import Event

import torch

from luthier.devices import gpu_memory
from luthier.hardware import release_memory
from luthier.training.batching import TrainingExample
from luthier.training.checkpointing import Checkpoints
from luthier.training.evaluation import TokenAccuracy, Validation, named_metrics
from luthier.training.forward_pass import ForwardPass, MicroBatch, Stopped
from luthier.training.hyperparameters import ResolvedHyperparameters
from luthier.training.lr_schedule import learning_rate_factor
from luthier.training.objectives import Objective
from luthier.training.protocol import Emit, Finished, Metrics
from luthier.training.ranks import Ranks
from luthier.training.resume_state import ResumeState
from luthier.training.thread_shares import run_in_threads
from luthier.training.training_data import TrainingData
from luthier.types.errors import JobError

_MAX_GRADIENT_NORM = 1.0
_TRIM_MEMORY_EVERY_S = 60.0


class OptimizerStep:
    """Gradients of one batch, accumulated over its micro-batches and summed over ranks, and AdamW's update.

    The loss is the weighted sum over all trained tokens of the batch divided by the sum of their weights, however the
    batch is cut into shares of ranks and micro-batches.
    """

    def __init__(
        self,
        forward: ForwardPass,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        parameters: dict[str, torch.nn.Parameter],
        plan: ResolvedHyperparameters,
        ranks: Ranks,
    ) -> None:
        self._forward, self._objective, self._optimizer, self._plan = forward, objective, optimizer, plan
        self._parameters, self._ranks = parameters, ranks

    def __call__(self, step: int, batch: list[TrainingExample]) -> dict[str, float]:
        """The metrics of the step. Raises JobError when its loss or gradient is not finite."""
        normalizer = self._objective.normalizer(batch)
        shares = self._forward.thread_shares(batch)
        if len(shares) == 1:
            sums = self._backward(shares[0], normalizer, torch.Tensor.backward)
        else:
            sums = self._backward_in_threads(shares, normalizer)
        loss, correct, total = self._sum_over_ranks(*sums)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), _MAX_GRADIENT_NORM))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise JobError(
                "training_diverged",
                f"Step {step} gave a loss of {loss} with a gradient of {norm}: training diverged and was stopped. "
                "The checkpoints so far are usable. Try a smaller learning_rate_multiplier.",
                "hyperparameters",
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.learning_rate * learning_rate_factor(step, self._plan.total_steps)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return named_metrics("train", loss, correct / total)

    def _backward(
        self, micro_batches: Iterable[MicroBatch], normalizer: float, backward: Callable[[torch.Tensor], object]
    ) -> tuple[float, int, int]:
        """(loss, correct and all targets); `backward` accumulates the gradients of a part of the loss."""
        loss, accuracy = 0.0, TokenAccuracy()
        for micro in micro_batches:
            part = self._objective.loss(micro.logprobs, micro.packed, micro.examples) / normalizer
            backward(part)
            loss += part.item()
            accuracy.add(micro.is_top, self._objective.accuracy_mask(micro.packed))
        return loss, *accuracy.counts()

    def _backward_in_threads(self, shares: Sequence[Iterable[MicroBatch]], normalizer: float) -> tuple[float, int, int]:
        """Gradients are summed thread by thread, so that the sum does not depend on which one ends first."""
        parameters = list(self._parameters.values())
        gradients = [[torch.zeros_like(parameter) for parameter in parameters] for _ in shares]

        def accumulate(sums: list[torch.Tensor], part: torch.Tensor) -> None:
            for total, gradient in zip(sums, torch.autograd.grad(part, parameters), strict=True):
                total += gradient

        outcomes = run_in_threads(
            [
                partial(self._backward, micro_batches, normalizer, partial(accumulate, sums))
                for micro_batches, sums in zip(shares, gradients, strict=True)
            ]
        )
        for parameter, *of_threads in zip(parameters, *gradients, strict=True):
            parameter.grad = reduce(torch.Tensor.add_, of_threads)
        losses, correct, total = zip(*outcomes, strict=True)
        return sum(losses), sum(correct), sum(total)

    def _sum_over_ranks(self, *numbers: float) -> tuple[float, ...]:
        """Sums the gradients, in place, and the numbers, all in one message."""
        if self._ranks.count == 1:
            return numbers
        parameters = list(self._parameters.values())
        for parameter in parameters:
            if parameter.grad is None:  # no example of the batch is this rank's
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sums = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor(numbers)])
        self._ranks.sum_(sums)
        *summed, totals = torch.split(sums, [*(gradient.numel() for gradient in gradients), len(numbers)])
        for gradient, total in zip(gradients, summed, strict=True):
            gradient.copy_(total.view_as(gradient))
        return tuple(totals.tolist())


class Trainer:
    """Runs a job from its restored progress to its last step; see `luthier.training.setup` for how it is built."""

    def __init__(
        self,
        data: TrainingData,
        plan: ResolvedHyperparameters,
        optimizer_step: OptimizerStep,
        validation: Validation,
        checkpoints: Checkpoints,
        resume_state: ResumeState,
        *,
        emit: Emit,
        stop: Event,
        ranks: Ranks,
    ) -> None:
        self._data, self._plan, self._optimizer_step = data, plan, optimizer_step
        self._validation, self._checkpoints, self._resume_state = validation, checkpoints, resume_state
        self._emit, self._stop, self._ranks = emit, stop, ranks
        self._progress = resume_state.progress
        self._trimmed_at = time.monotonic()

    def run(self) -> None:
        """Raises JobError for what the caller can correct, Stopped once `stop` is set and the state is saved."""
        if self._progress.pending_metrics is not None:
            self._after_step(self._progress.pending_metrics)
        gc.freeze()  # collections skip everything that is loaded by now
        while self._progress.step < self._plan.total_steps and not self._progress.stopped_early:
            step = self._progress.step + 1
            batch = self._data.batch(step, self._plan)
            metrics = self._optimizer_step(step, batch)
            self._trim_memory()
            self._progress.step = step
            self._after_step(metrics, sum(example.tokens for example in batch))
        self._emit(Finished(trained_tokens=self._data.tokens_until(self._progress.step, self._plan)))

    def _after_step(self, metrics: dict[str, float], tokens: int = 0) -> None:
        """Validation that is interrupted is repeated by the next run, before it takes another step.

        `tokens`: that this run trained for the step.
        """
        step, total = self._progress.step, self._plan.total_steps
        try:
            metrics = metrics | self._validation.after_step(step)
        except Stopped:
            self._progress.pending_metrics = metrics
            self._save()
            raise
        self._progress.pending_metrics = None
        gpu = gpu_memory()
        gpu_bytes = gpu.held_bytes if gpu else None
        self._emit(Metrics(step=step, total_steps=total, metrics=metrics, tokens=tokens, gpu_bytes=gpu_bytes))
        has_checkpoint = self._checkpoints.after_step(self._progress, metrics)
        stop = self._ranks.any(self._stop.is_set())
        if stop or has_checkpoint or self._resume_state.is_due():
            self._save()
        if stop and step < total and not self._progress.stopped_early:
            raise Stopped

    def _save(self) -> None:
        if self._ranks.is_first:
            self._resume_state.save()

    def _trim_memory(self) -> None:
        """Packed rows vary in length, so that glibc collects free blocks that do not fit the next row."""
        if time.monotonic() - self._trimmed_at > _TRIM_MEMORY_EVERY_S:
            release_memory()
            self._trimmed_at = time.monotonic()
