"""A stated load for benchmarks: programs that compute all the time in one thread each."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from luthier.hardware import CPU_TIER_VARIABLE, cpu_tier, hold_libraries_to_tier


@contextmanager
def busy_programs(count: int, nice: int = 0) -> Iterator[None]:
    command = [sys.executable, "-c", f"import os\nos.nice({nice})\nwhile True: pass"]
    programs = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def hold_to_tier(tier: str | None) -> None:
    """Starts this program again, held to a lower CPU tier, since libraries read the variables when they are loaded."""
    if tier and os.environ.get(CPU_TIER_VARIABLE) != tier:
        os.environ[CPU_TIER_VARIABLE] = tier
        hold_libraries_to_tier()
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - itself


def describe_machine(threads: int) -> str:
    """CPU, tier, threads (0: as many as PyTorch takes) and the load now."""
    threads, load = threads or torch.get_num_threads(), os.getloadavg()[0]
    return f"{platform.machine()}, {cpu_tier()}, {threads} threads, load {load:.1f} at the start"
