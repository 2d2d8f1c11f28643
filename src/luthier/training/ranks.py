"""The processes that train one job together, each with a share of every step's examples (data parallelism).

All hold the same weights and take the same steps: gradients, losses and counts are summed over the ranks before the
weights change. So every rank makes the same decisions, and only the first writes events, states and checkpoints. A sum
is a collective operation: every rank takes part in it, in the same order.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from luthier.devices import DEVICES
from luthier.training.batching import TrainingExample, shares
from luthier.training.rank_environment import RENDEZVOUS, rank_of_environment

_TIMEOUT = timedelta(hours=2)  # the others wait while the first writes a checkpoint


class LostRankError(OSError):
    """Another process of the job has ended. The job resumes from its last state."""


class Ranks:
    """One process alone, unless a subclass sums.

    `rank` counts from 0 to `count` - 1. `device`: of flags that are summed.
    """

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.count, self._device = rank, count, device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, examples: Sequence[TrainingExample]) -> list[TrainingExample]:
        """This rank's part of some examples."""
        return list(examples) if self.count == 1 else shares(examples, self.count)[self.rank]

    def sum_(self, tensor: torch.Tensor) -> None:
        """Replaces the tensor by its sum over all ranks."""

    def copy_first_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replaces the tensors by those of the first rank."""
        for tensor in tensors if self.count > 1 else ():
            if not self.is_first:
                tensor.zero_()
            self.sum_(tensor)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.count == 1:
            return flag
        flags = torch.tensor(float(flag), device=self._device)
        self.sum_(flags)
        return bool(flags)

    def largest(self, number: int) -> int:
        """The largest of the numbers that the ranks call this with."""
        numbers = torch.zeros(self.count, dtype=torch.int64, device=self._device)
        numbers[self.rank] = number
        self.sum_(numbers)
        return int(numbers.max())

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block on one rank after the other."""
        for _ in range(self.rank):
            self.any(False)
        yield
        for _ in range(self.rank, self.count):
            self.any(False)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Run the block on the first rank and then on the others, which find its output."""
        if not self.is_first:
            self.any(False)
        yield
        if self.is_first:
            self.any(False)


class DistributedRanks(Ranks):
    """Ranks of torch.distributed: NCCL between GPUs, Gloo between CPUs."""

    def __init__(self, device: torch.device) -> None:
        """Waits for the other ranks."""
        place = rank_of_environment()
        super().__init__(place.rank, place.ranks, device)
        distributed.init_process_group(
            DEVICES[device.type].sums,
            init_method=os.environ.get(RENDEZVOUS, "env://"),
            rank=place.rank,
            world_size=place.ranks,
            timeout=_TIMEOUT,
        )

    def sum_(self, tensor: torch.Tensor) -> None:
        distributed.all_reduce(tensor)


@contextmanager
def lost_ranks_named() -> Iterator[None]:
    """Raises LostRankError if a collective operation of the block fails, also one inside a forward pass."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise LostRankError(f"Another process of this job has ended: {error}") from error


def join_ranks(device: torch.device) -> Ranks:
    """The ranks of the process's environment."""
    return DistributedRanks(device) if rank_of_environment().ranks > 1 else Ranks()
