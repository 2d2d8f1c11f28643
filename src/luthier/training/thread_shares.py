"""Data parallelism over threads: each computes a share of a step's examples, forward and backward, on its own.

Threads that work on the same operation wait for one another thousands of times per step, and whatever holds up one core
for a moment, another program or the host of a virtual machine, holds up all of them. With shares of their own they wait
once per step.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from luthier.training.batching import TrainingExample, packed_tokens, shares

Result = TypeVar("Result")

_MIN_TOKENS = 1024  # of a share: for fewer rows, loading the weights into each core's cache takes too long
_MAX_OVERHEAD = 1.2  # the largest share's tokens times the number of shares, relative to all examples in one row


def thread_shares(examples: Sequence[TrainingExample], threads: int) -> list[list[TrainingExample]]:
    """The examples in as many shares as make a step faster; all in one where none do.

    A prefix is computed once in each share that has it, and a step takes as long as its largest share.
    """
    tokens = packed_tokens(examples)
    for count in range(min(threads, tokens // _MIN_TOKENS), 1, -1):
        if threads % count == 0:
            parts = shares(examples, count)
            lengths = [packed_tokens(part) for part in parts]
            if min(lengths) >= _MIN_TOKENS and count * max(lengths) <= _MAX_OVERHEAD * tokens:
                return parts
    return [list(examples)]


def run_in_threads(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all tasks, which run at once, each in a thread with its share of PyTorch's threads; a task alone
    runs in this thread. Other threads do not inherit `torch.no_grad` or autocast."""
    if len(tasks) == 1:
        return [tasks[0]()]
    threads = torch.get_num_threads()

    def run(task: Callable[[], Result]) -> Result:
        torch.set_num_threads(max(1, threads // len(tasks)))  # of this thread
        return task()

    try:
        return list(_pool().map(run, tasks))
    finally:
        torch.set_num_threads(threads)  # also of threads that start from now on


@cache
def _pool() -> ThreadPoolExecutor:
    """Its threads are kept from step to step."""
    return ThreadPoolExecutor(thread_name_prefix="training-share")
