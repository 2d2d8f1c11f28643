"""What is free goes back to the system."""

import sys
from pathlib import Path

import pytest

from luthier.hardware import release_memory


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_between_kept_pieces_goes_back() -> None:
    pieces = [b"x" * 100_000 for _ in range(2000)]
    kept = pieces[::10]
    before = _resident_mb()
    del pieces
    release_memory()
    assert _resident_mb() < before - 100
    assert len(kept) == 200
