"""`python -m fuzz`, from the folder of the tests: inputs made from the corpus, for each target in a process of its own.

An input fails if it raises anything, or takes more than 2 seconds of CPU time; it is then saved, once for each place.
Prints inputs per second, the slowest input and the growth of memory; exit code 1 if anything failed.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from fuzz.targets import Target

CORPUS = Path(__file__).with_name("corpus")
_MEMORY = Path("/dev/shm")
_MAX_CPU_S = 2.0
_MAX_GROWTH_MB = 64
_WARM_UP = 0.3  # share of the inputs after which memory is expected to stay
# A million in all, more where an input costs less.
INPUTS = {
    "jsonl": 80_000, "convert": 80_000, "render": 80_000, "calls": 380_000, "grammar": 60_000, "requests": 40_000,
    "gguf": 80_000, "safetensors": 220_000,
}  # fmt: skip


class Hang(BaseException):
    """An input took too long."""


def corpus(target: str) -> list[bytes]:
    """Each file, or of `requests` each line."""
    texts = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    return texts if target != "requests" else [line for text in texts for line in text.splitlines()]


def run_of(target: str) -> "Target":
    """What a target does with an input; imports what it needs."""
    from fuzz.application import requests
    from fuzz.targets import TARGETS

    return (TARGETS | {"requests": requests})[target]


@contextmanager
def cpu_limit() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, _MAX_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(target: str, inputs: int, seed: int, faults: Path) -> int:
    """The number of places that failed."""
    from fuzz.mutation import Mutator

    def stop(_: int, __: FrameType | None) -> NoReturn:
        raise Hang

    signal.signal(signal.SIGPROF, stop)
    run, mutator = run_of(target), Mutator(corpus(target), seed)
    places: set[str] = set()
    start, slowest, warm_mb = time.monotonic(), 0.0, 0.0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as scratch:
        for number in range(inputs):
            data = mutator.next()
            if number == int(_WARM_UP * inputs):
                warm_mb = _resident_mb()
            before = time.process_time()
            try:
                with cpu_limit():
                    run(data, Path(scratch))
            except (Exception, Hang) as error:
                _save(error, data, places, faults / target)
            slowest = max(slowest, time.process_time() - before)
    seconds, growth = time.monotonic() - start, _resident_mb() - warm_mb
    print(
        f"{target:12} {inputs:8} inputs {inputs / seconds:7.0f} /s  slowest {slowest:5.2f} s  "
        f"memory {warm_mb:5.0f} MB {growth:+6.1f}  places that failed {len(places)}",
        flush=True,
    )
    return len(places) + (growth > _MAX_GROWTH_MB)


def _save(error: BaseException, data: bytes, places: set[str], folder: Path) -> None:
    """Keeps the input where no other failed in the same place."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/luthier/" in frame.filename]
    frame = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} {Path(frame.filename).name}:{frame.lineno}"
    if place in places:
        return
    places.add(place)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / re.sub(r"\W+", "-", place)
    path.write_bytes(data)
    print(f"{path}: {place}: {str(error)[:300]}", flush=True)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*INPUTS, []], help="all by default")
    parser.add_argument("--inputs", type=float, default=1, help="factor of the number of inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="a folder for inputs that fail")
    options = parser.parse_args()
    if len(options.targets) == 1:
        (target,) = options.targets
        return int(fuzz(target, int(INPUTS[target] * options.inputs), options.seed, options.faults) > 0)
    arguments = ["--inputs", str(options.inputs), "--seed", str(options.seed), "--faults", str(options.faults)]
    commands = [[sys.executable, "-m", "fuzz", target, *arguments] for target in options.targets or INPUTS]
    return int(any([subprocess.run(command, check=False).returncode for command in commands]))


if __name__ == "__main__":
    sys.exit(main())
