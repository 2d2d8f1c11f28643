"""The forward pass over examples: micro-batches within the token budget, packed, as log-probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import torch

from luthier.training import batching
from luthier.training.batching import TrainingExample
from luthier.training.logprobs import PackedBatch, log_probabilities, pack
from luthier.training.model import TrainedModel
from luthier.training.ranks import Ranks
from luthier.training.training_data import Split, TrainingData

_EXAMPLES_IN_MEMORY = 256  # while a whole file is evaluated


class Stopped(Exception):  # noqa: N818 - not an error: the resume state is saved and the job can be resumed
    """Training was asked to stop, and the resume state is saved."""


@dataclass(frozen=True)
class MicroBatch:
    """`logprobs` float32 [N], with gradient; `is_top` bool [N]: whether the target was the likeliest token."""

    examples: list[TrainingExample]
    packed: PackedBatch
    logprobs: torch.Tensor
    is_top: torch.Tensor


class ForwardPass:
    """`max_tokens`: the token budget of a micro-batch."""

    def __init__(self, model: TrainedModel, max_tokens: int) -> None:
        self.model = model
        self.max_tokens = max_tokens

    def micro_batches(self, examples: list[TrainingExample]) -> Iterator[MicroBatch]:
        """One for each example where the model computes them in separate rows."""
        if self.model.separate_rows:
            yield from (self._run([example]) for example in examples)
        else:
            groups = batching.micro_batches(examples, self.max_tokens, self.model.short_tokens)
            yield from (self._run(group) for group in groups)

    def _run(self, group: list[TrainingExample]) -> MicroBatch:
        sequences = [sequence for example in group for sequence in example.sequences]
        packed = pack(sequences, self.model.compute.device, share_prefixes=self.model.separate_rows is None)
        with self.model.compute.autocast():
            return MicroBatch(group, packed, *log_probabilities(self.model.module, packed))


def in_chunks(
    data: TrainingData, split: Split, indices: range, stop: Event, ranks: Ranks
) -> Iterator[list[TrainingExample]]:
    """Reads examples a few at a time. Raises Stopped, on all ranks at once, when `stop` is set on one."""
    for start in range(0, len(indices), _EXAMPLES_IN_MEMORY):
        if ranks.any(stop.is_set()):
            raise Stopped
        yield data.examples(split, indices[start : start + _EXAMPLES_IN_MEMORY])
