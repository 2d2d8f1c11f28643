"""All rings but `clients`, in the parts that `make test` runs one after another; one summary at the end.

    python tests/suite.py                     exit code 1 if any part fails
    python tests/suite.py --write-ring-times  also writes RINGS.md anew

Two processes share a part; a file stays in one process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rings import RINGS, TESTS

TABLE = TESTS / "RINGS.md"
Times = dict[str, dict[str, float]]


# In the order of their folders: files of few, long tests would come last, and one process would wait for the other.
_SPREAD = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-q")
PARTS = (("fast", "services"), ("models",), ("torch", "base", "conformance"))


def run(rings: Sequence[str], folder: Path) -> tuple[int, float, Times]:
    """(exit code, seconds, tests and seconds by ring) of one part."""
    times = folder / "times.json"
    times.unlink(missing_ok=True)
    selected = [word for ring in rings for word in ("--ring", ring)]
    command = [sys.executable, "-m", "pytest", *selected, *_SPREAD, f"--ring-times={times}"]
    # Two processes on two cores: threads that wait must not spin.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    start = time.monotonic()
    code = subprocess.run(command, cwd=TESTS.parent, env=environment, check=False).returncode
    seconds = time.monotonic() - start
    return code, seconds, json.loads(times.read_text(encoding="utf-8")) if times.exists() else {}


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
    options = parser.parse_args()
    times: Times = {}
    lines, wall_s, failed = [], 0.0, False
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            code, seconds, part_times = run(part, Path(folder))
            failed |= code != 0
            wall_s += seconds
            times |= part_times
            tests = int(sum(ring["tests"] for ring in part_times.values()))
            outcome = "passed" if code == 0 else f"FAILED (pytest ended with {code}; its report is above)"
            lines.append(f"{', '.join(part)}: {tests:,} tests in {seconds:.0f} s, {outcome}")
    print("\n".join(["", "make test:", *lines, f"all: {wall_s / 60:.1f} minutes, {'FAILED' if failed else 'passed'}"]))
    if options.write_ring_times and not failed:
        TABLE.write_text(table(times, wall_s), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
