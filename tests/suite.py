"""All rings but `clients`, in the stages that `make test` runs one after another; one summary at the end.

    python tests/suite.py                     exit code 1 if any part fails
    python tests/suite.py --write-ring-times  also writes RINGS.md anew
    python tests/suite.py --fast              the ring `fast` alone, as `make test-fast` does

At most two processes run at a time; a file stays in one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rings import RINGS, TESTS

TABLE = TESTS / "RINGS.md"
Times = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Part:
    """Rings that run together, in `processes`. `options`: further ones of pytest."""

    rings: tuple[str, ...]
    processes: int = 1
    options: tuple[str, ...] = ()

    def command(self, times: Path) -> list[str]:
        rings = [word for ring in self.rings for word in ("--ring", ring)]
        spread = ["-n", str(self.processes), "--dist", "loadfile", "-q"] if self.processes > 1 else []
        return [sys.executable, "-m", "pytest", *rings, *spread, *self.options, f"--ring-times={times}"]


# The parts of a stage run at once.
STAGES = (
    (Part(("fast", "long", "source", "services"), processes=2),),
    (Part(("models",), processes=2),),
    (Part(("torch",), processes=2),),
    (Part(("base",)), Part(("conformance",))),
)
_MEMORY = Path("/dev/shm")  # in which fast tests make their files
# Two halves, each collecting its own files: pytest-xdist's processes would both collect all of them and report every
# test to a third. Captured logs, and a thread for each test that would end it if it hung, take a tenth of the time.
_LEAN = ("-q", "-p", "no:xdist", "-p", "no:logging", "-o", "faulthandler_timeout=0")
FAST = (Part(("fast",), options=(*_LEAN, "tests/data")), Part(("fast",), options=(*_LEAN, "--ignore=tests/data")))


@dataclass(frozen=True)
class Outcome:
    """`code`: the exit code; `times`: tests and seconds by ring; `output`: what was not printed yet."""

    part: Part
    code: int
    seconds: float
    times: Times
    output: str


def run(part: Part, times: Path, *, quiet: bool) -> Outcome:
    """`times`: a file that does not exist yet."""
    # Two processes on two cores: threads that wait must not spin, and a tiny model computes as fast with one thread.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    if times.is_relative_to(_MEMORY):
        environment["TMPDIR"] = str(times.parent)
    if part.processes > 1:
        environment["OMP_NUM_THREADS"] = "1"
    start = time.monotonic()
    process = subprocess.run(
        part.command(times),
        cwd=TESTS.parent,
        env=environment,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    measured = json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}
    return Outcome(part, process.returncode, time.monotonic() - start, measured, process.stdout or "")


def run_stage(parts: Sequence[Part], folder: Path) -> list[Outcome]:
    """The output of the first is printed as it comes, that of the others at the end."""
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(run, part, folder / f"{'-'.join(part.rings)}-{number}.json", quiet=number > 0)
            for number, part in enumerate(parts)
        ]
    outcomes = [outcome.result() for outcome in running]
    for outcome in outcomes:
        print(outcome.output, end="", flush=True)
    return outcomes


def table(times: Times, wall_s: float) -> str:
    """RINGS.md."""
    rows = [
        f"| `{ring}` | {need} | {times[ring]['tests']:,} | {times[ring]['seconds'] / 60:.1f} |"
        for ring, need in RINGS.items()
        if ring in times
    ]
    total = sum(ring["tests"] for ring in times.values())
    lines = [
        "# Test rings",
        "",
        "Written by `make test ARGS=--write-ring-times`. Minutes of a ring are those of its tests, one after another; "
        "the last row is the whole of `make test` by the clock, on two cores. The rings: [rings.py](rings.py).",
        "",
        "| ring | needs | tests | minutes |",
        "|---|---|---|---|",
        *rows,
        f"| `make test` | | {total:,} | {wall_s / 60:.1f} |",
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-ring-times", action="store_true", help=f"write {TABLE.name} anew")
    parser.add_argument("--fast", action="store_true", help="run the ring `fast` alone")
    options = parser.parse_args()
    if options.fast and options.write_ring_times:
        parser.error("--write-ring-times needs all rings; leave --fast out")
    start = time.monotonic()
    stages = (FAST,) if options.fast else STAGES
    with tempfile.TemporaryDirectory(dir=_MEMORY if options.fast and _MEMORY.is_dir() else None) as folder:
        outcomes = [outcome for parts in stages for outcome in run_stage(parts, Path(folder))]
    wall_s = time.monotonic() - start
    times: Times = {}
    lines, failed = [], any(outcome.code for outcome in outcomes)
    for outcome in outcomes:
        times |= outcome.times
        tests = int(sum(ring["tests"] for ring in outcome.times.values()))
        verdict = "passed" if outcome.code == 0 else f"FAILED (pytest ended with {outcome.code}; its report is above)"
        lines.append(f"{', '.join(outcome.part.rings)}: {tests:,} tests in {outcome.seconds:.0f} s, {verdict}")
    duration = f"{wall_s:.1f} seconds" if options.fast else f"{wall_s / 60:.1f} minutes"
    print("\n".join(["", *lines, f"all: {duration}, {'FAILED' if failed else 'passed'}"]))
    if options.write_ring_times and not failed:
        TABLE.write_text(table(times, wall_s), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
