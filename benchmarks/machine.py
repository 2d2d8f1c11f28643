"""A stated load for benchmarks: programs that compute all the time in one thread each."""

import os
import platform
import re
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


def instruction_sets() -> dict[str, str]:
    """What PyTorch's libraries really compute with here, by library; an empty string where one does not say.

    Asked of another process, which is held down as this one is: libraries report at their first product.
    """
    program = (
        "import torch\n"
        "print('aten', torch.backends.cpu.get_cpu_capability(), flush=True)\n"
        "for dtype in (torch.float32, torch.bfloat16):\n"
        "    x = torch.ones(256, 256, dtype=dtype)\n"
        "    x @ x\n"
    )
    environment = os.environ | {"MKL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    patterns = {
        "ATen": r"^aten (.+)",
        "MKL, float32": r"^MKL_VERBOSE (?:one|Intel\(R\) )?MKL .*? for (.+?),? Lnx",
        "oneDNN": r"verbose.*,cpu,isa:(.+)",
        "oneDNN, bfloat16": r"verbose.*,exec,cpu,matmul,([^,]+),",
    }
    matches = {name: re.search(pattern, printed.stdout, re.MULTILINE) for name, pattern in patterns.items()}
    return {name: match[1].strip() if match else "" for name, match in matches.items()}
