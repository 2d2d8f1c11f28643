"""What is free goes back to the system."""

import os
import sys
from pathlib import Path

import pytest

from luthier.hardware import cpu_tier, limit_spinning, release_memory


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


@pytest.mark.parametrize(
    ("flags", "tier"),
    [
        ("avx2 avx512f avx512_bf16 amx_bf16 amx_tile", "AMX"),
        ("avx2 avx512f avx512_bf16", "AVX-512 bf16"),
        ("avx2 avx512f amx_tile", "AVX-512"),
        ("avx2 fma", "AVX2"),
        ("asimd bf16", "NEON"),
    ],
)
def test_the_tier_is_the_fastest_that_the_cpu_has(flags: str, tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.hardware.cpu_features", lambda: frozenset(flags.split()))
    for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    assert cpu_tier() == tier
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert cpu_tier() == f"{tier} ONEDNN_MAX_CPU_ISA=AVX2"


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_spin_briefly_unless_the_environment_says_how_to_wait(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(own))
    limit_spinning()
    assert os.environ == (own or {"GOMP_SPINCOUNT": "1000"})
