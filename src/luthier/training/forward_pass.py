"""The forward pass over examples: micro-batches within the token budget, packed, as log-probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

import torch

from luthier.devices import DEVICES
from luthier.training import batching
from luthier.training.batching import TrainingExample
from luthier.training.logprobs import PackedBatch, log_probabilities, pack
from luthier.training.model import TrainedModel
from luthier.training.ranks import Ranks
from luthier.training.thread_shares import thread_shares
from luthier.training.training_data import Split, TrainingData

_EXAMPLES_IN_MEMORY = 256  # while a whole file is evaluated


class Stopped(Exception):  # noqa: N818 - not an error: the resume state is saved and the job can be resumed
    """Training was requested to stop, and the resume state is saved."""


@dataclass(frozen=True)
class MicroBatch:
    """`logprobs` float32 [N], with gradient; `is_top` bool [N]: whether the target was the likeliest token."""

    examples: list[TrainingExample]
    packed: PackedBatch
    logprobs: torch.Tensor
    is_top: torch.Tensor


class ForwardPass:
    """`max_tokens`: of the micro-batches that are computed at once. `ranks`: those with which the model was loaded."""

    def __init__(self, model: TrainedModel, max_tokens: int, ranks: Ranks | None = None) -> None:
        self.model = model
        self.max_tokens = max_tokens
        self._ranks = ranks or Ranks()

    def micro_batches(self, examples: list[TrainingExample]) -> Iterator[MicroBatch]:
        """The micro-batches of this rank's share of `examples`, which are the same on all ranks.

        One per example if the model needs separate rows.
        """
        yield from self._run_all(self._ranks.share(examples), examples, self._budget(1))

    def thread_shares(self, examples: list[TrainingExample]) -> list[Iterator[MicroBatch]]:
        """The micro-batches of this rank's share, as one iterator for each thread that is to compute some of them."""
        own = self._ranks.share(examples)
        shares = thread_shares(own, torch.get_num_threads()) if self.model.supports_thread_shares else [own]
        budget = self._budget(len(shares))
        if len(shares) == 1 or max(example.tokens for example in own) > budget:
            return [self._run_all(own, examples, self._budget(1))]
        return [self._run_all(share, share, budget) for share in shares]

    def unshared(self, examples: list[TrainingExample]) -> Iterator[MicroBatch]:
        """The micro-batches of all examples. With a sharded base, all ranks compute them."""
        yield from self._run_all(examples, examples, self._budget(1))

    def _budget(self, micro_batches: int) -> int:
        """The tokens of a micro-batch, where `micro_batches` are computed at once."""
        return min(self.max_tokens // micro_batches, DEVICES[self.model.compute.device.type].micro_batch_tokens)

    def _run_all(
        self, own: list[TrainingExample], examples: list[TrainingExample], max_tokens: int
    ) -> Iterator[MicroBatch]:
        if self.model.separate_rows:
            groups = [[example] for example in own]
        else:
            groups = list(batching.micro_batches(own, max_tokens, self.model.short_tokens))
        passes = self._ranks.largest(len(groups)) if self.model.is_sharded else len(groups)
        yield from map(self._run, groups)
        for _ in range(len(groups), passes):
            self._run_idly(min(examples, key=lambda example: len(example.sequences[0].ids)))

    def _run_idly(self, example: TrainingExample) -> None:
        """Run a pass without effect, so that other ranks can gather a sharded base's weights for theirs."""
        logprobs = self._run([example]).logprobs
        if logprobs.requires_grad:
            (0 * logprobs.sum()).backward()  # type: ignore[no-untyped-call]

    def _run(self, group: list[TrainingExample]) -> MicroBatch:
        sequences = [sequence for example in group for sequence in example.sequences]
        packed = pack(sequences, self.model.compute.device, share_prefixes=self.model.separate_rows is None)
        with self.model.compute.autocast():
            return MicroBatch(group, packed, *log_probabilities(self.model.module, packed))


def in_chunks(
    data: TrainingData, split: Split, indices: range, stop: Event, ranks: Ranks
) -> Iterator[list[TrainingExample]]:
    """Read examples a few at a time. Raises Stopped on all ranks at once if `stop` is set on one."""
    for start in range(0, len(indices), _EXAMPLES_IN_MEMORY):
        if ranks.any(stop.is_set()):
            raise Stopped
        yield data.examples(split, indices[start : start + _EXAMPLES_IN_MEMORY])
