"""The part of the machine that a trainer uses if several train concurrently."""

import os
from pathlib import Path
from typing import NamedTuple

from luthier.catalogue.rates import rate_key
from luthier.settings import Settings


class TrainerHardware(NamedTuple):
    """`device` and `dtype` as the settings have them, `auto` included. `threads` 0: PyTorch chooses. `processes`: those
    of one trainer, which share its threads.

    `trainers`: the number that may share the machine. Each gets its share of the CPU's threads, however many are
    running, so that a resumed job computes the same losses.
    """

    device: str
    dtype: str
    threads: int
    processes: int
    trainers: int

    @classmethod
    def of(cls, settings: Settings) -> "TrainerHardware":
        threads, trainers = settings.threads, settings.concurrent_jobs
        if threads == 0 and trainers > 1:
            threads = max(1, (os.cpu_count() or 1) // trainers)
        return cls(settings.device, settings.precision, threads, settings.training_processes, trainers)

    def rate_key(self, base: Path, *, full: bool) -> str:
        """The key of the training rate on a base model (`luthier.catalogue.rates`)."""
        return rate_key(base, self.device, self.dtype, self.threads, full=full)
