"""The data of a job: its training and validation examples, by step and epoch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from luthier.data.rendering.tool_dropout import ToolDropout
from luthier.training import batching, dataset
from luthier.training.batching import TrainingExample
from luthier.training.hyperparameters import ResolvedHyperparameters

Split = Literal["train", "valid"]


class TrainingData:
    """`splits`: the data sets of the job; `valid` is absent without a validation file.

    `reference_logprobs`: float32 [examples, 2] for each split, with DPO.
    """

    def __init__(self, folder: Path, options: dataset.Options) -> None:
        self._dropout: ToolDropout = options.dropout
        self._seed = options.seed
        self.splits: dict[Split, dataset.Dataset] = {
            "train": dataset.load(folder / "train.jsonl", options, "training_file", add_examples=True)
        }
        if (folder / "valid.jsonl").exists():
            self.splits["valid"] = dataset.load(folder / "valid.jsonl", options, "validation_file")
        self.reference_logprobs: dict[Split, np.ndarray] = {}

    @property
    def train(self) -> dataset.Dataset:
        return self.splits["train"]

    @property
    def validation_count(self) -> int:
        return len(self.splits["valid"]) if "valid" in self.splits else 0

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(split.longest for split in self.splits.values())

    def tokens(self, epoch: int) -> int:
        return self.train.tokens(self._dropout.levels(self._seed, epoch, len(self.train)))

    def tokens_until(self, step: int, plan: ResolvedHyperparameters) -> int:
        """Of all batches up to `step`, counted from 1."""
        epochs, steps = divmod(step, plan.steps_per_epoch)
        batches = (self.batch(number, plan) for number in range(step - steps + 1, step + 1))
        part = sum(example.tokens for batch in batches for example in batch)
        return sum(self.tokens(epoch) for epoch in range(epochs)) + part

    def batch(self, step: int, plan: ResolvedHyperparameters) -> list[TrainingExample]:
        """The examples of an optimizer step, counted from 1."""
        epoch, number = divmod(step - 1, plan.steps_per_epoch)
        count = len(self.train)
        if self.train.views > 1:
            order = batching.grouped_epoch_order(self._seed, epoch, count, plan.batch_size, self._dropout)
        else:
            order = batching.epoch_order(self._seed, epoch, count)
        return self.examples("train", order[number * plan.batch_size : (number + 1) * plan.batch_size], epoch)

    def examples(self, split: Split, indices: Iterable[int], epoch: int = 0) -> list[TrainingExample]:
        """Validation always renders as in the first epoch, so that its losses can be compared."""
        source, reference = self.splits[split], self.reference_logprobs.get(split)
        views = self._dropout.levels(self._seed, epoch, len(source))
        return [
            TrainingExample(
                index,
                source.example(index, int(views[index])),
                () if reference is None else tuple(reference[index]),
            )
            for index in map(int, indices)
        ]
