"""Checkpoints: complete model folders, at the end of each epoch.

A folder holds everything that serving needs: weights and config, the chat template, the adapter metadata (call form
and tool definitions) and the parity samples.
"""

from functools import cached_property
from pathlib import Path

import torch

from luthier.data.examples.adapter_metadata import FILE, AdapterMetadata
from luthier.data.rendering import parity_samples
from luthier.training import protocol
from luthier.training.batching import TrainingExample
from luthier.training.dataset import TokenSequence
from luthier.training.durable_files import new_folder
from luthier.training.forward_pass import ForwardPass
from luthier.training.hyperparameters import ResolvedHyperparameters
from luthier.training.protocol import Emit
from luthier.training.resume_state import BestStep, Progress
from luthier.training.training_data import Split, TrainingData

_MIN_PARITY_SAMPLES, _MAX_PARITY_SAMPLES, _PARITY_TOKENS = 4, 16, 2048
_PARITY_TARGETS = 128  # with short answers, more samples are taken, up to this many targets
_PARITY_ANSWER_TOKENS = 64  # minimum tokens of the answer, however long its prompt is
_BEST = "best"


class ModelFolders:
    """Writes model folders below `checkpoints/`.

    `writes`: false on ranks that only take part in computing the parity samples, since a sharded base needs all ranks.
    """

    def __init__(
        self,
        folder: Path,
        chat_template: str,
        metadata: AdapterMetadata,
        data: TrainingData,
        forward: ForwardPass,
        *,
        writes: bool = True,
    ) -> None:
        self._folder, self._writes = folder / "checkpoints", writes
        self._chat_template, self._metadata, self._data, self._forward = chat_template, metadata, data, forward

    def write(self, name: str) -> None:
        """Write a model folder, which appears complete or not at all."""
        samples = self._parity_samples()
        if not self._writes:
            return
        with new_folder(self._folder / name) as new:
            self._forward.model.write(new)
            (new / "chat_template.jinja").write_text(self._chat_template, encoding="utf-8")
            self._metadata.write(new)
            parity_samples.write(new, samples)

    def complete_earlier(self) -> None:
        """Add the metadata to folders of a trainer before protocol 2, which left this to its worker."""
        for folder in self._folder.glob("*"):
            if folder.suffix != ".new" and not (folder / FILE).exists():
                self._metadata.write(folder)

    @torch.no_grad()
    def _parity_samples(self) -> list[parity_samples.ParitySample]:
        """This model's log-probabilities of some examples, in the rows in which it trains them."""
        samples = []
        scored = self._scored(self._parity_examples)
        for example, (logprobs, is_top), base_logprobs in zip(
            self._parity_examples, scored, self._base_logprobs, strict=True
        ):
            (sequence,) = example.sequences
            targets = [index for index, weight in enumerate(sequence.weights) if weight and index]
            ids = sequence.ids.tolist()
            samples.append(parity_samples.ParitySample(ids, targets, logprobs, is_top, base_logprobs))
        return samples

    @torch.no_grad()
    def _scored(self, examples: list[TrainingExample]) -> list[tuple[list[float], list[bool]]]:
        """For each example, the log-probabilities at its targets, and whether each target was the most likely token."""
        numbered = [TrainingExample(place, example.sequences) for place, example in enumerate(examples)]
        scored: dict[int, tuple[list[float], list[bool]]] = {}
        for micro in self._forward.unshared(numbered):
            for owner, example in enumerate(micro.examples):
                own = micro.packed.owners == owner
                scored[example.index] = micro.logprobs[own].tolist(), micro.is_top[own].tolist()
        return [scored[place] for place in range(len(numbered))]

    @cached_property
    def _parity_examples(self) -> list[TrainingExample]:
        """One sequence each, from the validation file if there is one; of a preference, both answers."""
        split: Split = "valid" if self._data.validation_count else "train"
        examples: list[TrainingExample] = []
        tokens = targets = 0
        for index in range(min(_MAX_PARITY_SAMPLES, len(self._data.splits[split]))):
            if index >= _MIN_PARITY_SAMPLES and (targets >= _PARITY_TARGETS or tokens >= _PARITY_TOKENS):
                break
            (example,) = self._data.examples(split, range(index, index + 1))
            cut = [_beginning(sequence) for sequence in example.sequences]
            examples += [TrainingExample(example.index, (sequence,)) for sequence in cut]
            tokens += sum(len(sequence.ids) for sequence in cut)
            targets += sum(int((sequence.weights[1:] != 0).sum()) for sequence in cut)
        return examples

    @cached_property
    def _base_logprobs(self) -> list[list[float]]:
        """The base model's log-probabilities of each parity example; empty lists with full fine-tuning."""
        with self._forward.model.without_adapter() as base:
            return [self._scored([example])[0][0] if base else [] for example in self._parity_examples]


def _beginning(sequence: TokenSequence) -> TokenSequence:
    """The compared tokens: the first ones, including part of the answer however long its prompt is."""
    first_target = 1 + int(sequence.weights[1:].nonzero()[0][0])
    end = max(_PARITY_TOKENS, first_target + _PARITY_ANSWER_TOKENS)
    return TokenSequence(sequence.ids[:end], sequence.weights[:end])


class Checkpoints:
    """Writes a model folder per epoch. With a validation file, the step with the lowest loss becomes the final one.

    Args:
        folders: None on ranks that write no folders; they make the same decisions.
        patience: With early stopping, the number of consecutive full validations without a new lowest loss that ends
            training. Otherwise None, and only the validations at the end of an epoch are compared.
    """

    def __init__(
        self, folders: ModelFolders | None, plan: ResolvedHyperparameters, patience: int | None, emit: Emit
    ) -> None:
        self._folders, self._plan, self._patience, self._emit = folders, plan, patience, emit

    def after_step(self, progress: Progress, metrics: dict[str, float]) -> bool:
        """Write the checkpoint that is due after `progress.step`, with its `metrics`. Returns whether one was written.

        Updates the best step, and decides whether training stops early.
        """
        step, ends_epoch = progress.step, self._plan.ends_epoch(progress.step)
        if "full_valid_loss" in metrics and (ends_epoch or self._patience):
            self._compare(progress, metrics)
        is_last = step == self._plan.total_steps
        if self._patience and progress.validations_since_best >= self._patience and not is_last:
            progress.stopped_early = True
        if not (ends_epoch or progress.stopped_early):
            return False
        best = progress.best
        if (is_last or progress.stopped_early) and best and best.step < step:
            self._emit_best(progress, best, metrics["full_valid_loss"])
        else:
            self._write(f"step-{step}")
            self._emit(protocol.Checkpoint(step=step, folder=f"step-{step}", metrics=metrics, final=is_last))
        return True

    def _compare(self, progress: Progress, metrics: dict[str, float]) -> None:
        progress.validations_since_best += 1
        if progress.best is None or metrics["full_valid_loss"] < progress.best.metrics["full_valid_loss"]:
            progress.best, progress.validations_since_best = BestStep(progress.step, metrics), 0
            self._write(_BEST)

    def _write(self, name: str) -> None:
        if self._folders:
            self._folders.write(name)

    def _emit_best(self, progress: Progress, best: BestStep, last_loss: float) -> None:
        """Emit the checkpoint of an earlier step as the final one."""
        if progress.stopped_early:
            total_steps, patience = self._plan.total_steps, self._patience or 0
            self._emit(
                protocol.EarlyStopped(
                    step=progress.step, total_steps=total_steps, patience=patience, best_step=best.step
                )
            )
        loss = best.metrics["full_valid_loss"]
        self._emit(protocol.BestEpoch(step=best.step, full_valid_loss=loss, last_full_valid_loss=last_loss))
        metrics = {"step": best.step, **best.metrics}
        self._emit(protocol.Checkpoint(step=progress.step, folder=_BEST, metrics=metrics, final=True))
