"""`python -m fuzz`, from the folder of the tests: inputs made from the corpus, for each target in a process of its own,
as many at a time as there are cores.

An input fails if it raises anything, takes more than 2 seconds of CPU time, or ends its process; it is then saved, once
for each place. Prints inputs per second, the slowest input and the growth of memory; exit code 1 if anything failed.
"""

import argparse
import faulthandler
import gc
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from fuzz.mutation import MAX_BYTES, Mutator

if TYPE_CHECKING:
    from fuzz.targets import Target

CORPUS = Path(__file__).with_name("corpus")
_MEMORY = Path("/dev/shm")
_MAX_CPU_S = 2.0
_MAX_GROWTH_MB = 64
_CURRENT, _LENGTH_BYTES = "current-input", 4
_WATCHED = 500  # inputs between two looks at whether there is progress
FAILED = 1  # exit code: an input failed
_WARM_UP = 0.3  # share of the inputs after which memory is expected to stay
# A million in all, more where an input costs less; the targets that take longest come first.
INPUTS = {
    "render": 80_000, "requests": 40_000, "convert": 80_000, "jsonl": 80_000, "calls": 380_000, "grammar": 60_000,
    "safetensors": 220_000, "gguf": 80_000,
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


class CurrentInput:
    """The input that runs, in a file that outlives its process."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_LENGTH_BYTES + MAX_BYTES))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def set(self, data: bytes) -> None:
        self._memory[:_LENGTH_BYTES] = len(data).to_bytes(_LENGTH_BYTES, "little")
        self._memory[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = data

    @staticmethod
    def read(path: Path) -> bytes:
        content = path.read_bytes()
        return content[_LENGTH_BYTES:][: int.from_bytes(content[:_LENGTH_BYTES], "little")]


def fuzz(target: str, inputs: int, seed: int, faults: Path, folder: Path) -> int:
    """The number of places that failed. `folder`: empty, for the target and for the input that runs."""

    def stop(_: int, __: FrameType | None) -> NoReturn:
        raise Hang

    signal.signal(signal.SIGPROF, stop)
    run, inputs_of_corpus = run_of(target), corpus(target)
    mutator = Mutator(inputs_of_corpus, seed)
    current, scratch = CurrentInput(folder / _CURRENT), folder / "scratch"
    scratch.mkdir()
    run(inputs_of_corpus[0], scratch)  # makes what all inputs share, which is the time of none
    places: set[str] = set()
    start, slowest, warm_mb = time.monotonic(), 0.0, 0.0
    for number in range(inputs):
        if number % _WATCHED == 0:  # code in C hears no signal while it loops
            faulthandler.dump_traceback_later(_WATCHED * _MAX_CPU_S, exit=True)
        if number == _WATCHED:  # what is loaded by now stays
            gc.collect()
            gc.freeze()
        data = mutator.next()
        current.set(data)
        if number == int(_WARM_UP * inputs):
            warm_mb = _resident_mb()
        before = time.process_time()
        try:
            with cpu_limit():
                run(data, scratch)
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


def _fuzz_in_a_process(target: str, options: argparse.Namespace) -> bool:
    """Whether something failed."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        arguments = ["--inputs", str(options.inputs), "--seed", str(options.seed), "--faults", str(options.faults)]
        command = [sys.executable, "-m", "fuzz", target, *arguments, "--folder", name]
        code = subprocess.run(command, env={**os.environ, "TMPDIR": name}, check=False).returncode
        current = Path(name, _CURRENT)
        if code not in (0, FAILED) and current.exists():
            path = options.faults / target / f"ended-with-{code}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CurrentInput.read(current))
            print(f"{path}: the process ended with {code}", flush=True)
    return code != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*INPUTS, []], help="all by default")
    parser.add_argument("--inputs", type=float, default=1, help="factor of the number of inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="a folder for inputs that fail")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="targets at a time")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of a process for one target
    options = parser.parse_args()
    if options.folder:
        (target,) = options.targets
        places = fuzz(target, int(INPUTS[target] * options.inputs), options.seed, options.faults, options.folder)
        return FAILED if places else 0
    with ThreadPoolExecutor(options.processes) as pool:
        return int(any(list(pool.map(lambda target: _fuzz_in_a_process(target, options), options.targets or INPUTS))))


if __name__ == "__main__":
    sys.exit(main())
