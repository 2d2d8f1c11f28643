"""The kernels for ARM64: compiled by a cross compiler and run by QEMU, on the numbers of this machine's CPU."""

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from luthier import native

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(
        platform.machine() != "x86_64" or not all(map(shutil.which, (COMPILER, EMULATOR, "g++"))),
        reason=f"needs an x86-64 CPU with g++, {COMPILER} and {EMULATOR}",
    ),
]
ROOM = Path(native.__file__).parents[1]
FLAGS = ("-O3", "-std=c++20", "-fno-math-errno", "-fopenmp", "-static", f"-I{ROOM / 'native'}")


def _numbers(name: str, includes: str, folder: Path, command: list[str], emulator: list[str]) -> np.ndarray:
    """What the program `name` of this folder writes."""
    program = folder / f"{name}-{command[0]}"
    source = Path(__file__).with_name(f"{name}.cpp")
    subprocess.run([*command, *FLAGS, f"-I{ROOM / includes}", str(source), "-o", str(program)], check=True)
    written = subprocess.run([*emulator, str(program)], check=True, capture_output=True).stdout
    return np.frombuffer(written, np.float32)


@pytest.fixture(params=[("forward_pass", "inference/engines/native"), ("training_kernels", "training/kernels")])
def numbers(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """A program's name, its numbers on NEON, and on SSE2."""
    name, includes = request.param
    emulated = _numbers(name, includes, tmp_path, [COMPILER], [EMULATOR])
    return name, emulated, _numbers(name, includes, tmp_path, ["g++", "-march=x86-64"], [])


def test_neon_computes_what_other_cpus_do(numbers: tuple[str, np.ndarray, np.ndarray]) -> None:
    name, neon, other = numbers
    assert len(neon) == len(other) > 50_000
    assert np.isfinite(neon).all()
    limit = 1e-3 if name == "forward_pass" else 2e-2  # of which bfloat16 takes the most
    assert np.abs(neon - other).max() < limit * np.abs(other).max()
    assert np.abs(neon - other).mean() < 1e-5 * np.abs(other).max()
    if name == "forward_pass":  # batch invariance: two sequences at once, and one in two passes
        assert all(np.array_equal(together, alone) for together, alone in _parts(neon))


def _parts(written: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each type of weights, the logits of the first sequence: beside another, and alone in two passes."""
    first, second, vocabulary, hidden = 70, 3, 130, 64
    size = (2 * first + second) * vocabulary + (first + second) * hidden
    runs = written.reshape(-1, size)
    start = (first + second) * vocabulary
    return [(run[: first * vocabulary], run[start : start + first * vocabulary]) for run in runs]
