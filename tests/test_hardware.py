"""What is free goes back to the system."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.hardware import (
    available_memory,
    compute_threads,
    cpu_tier,
    cpu_tiers,
    has_bfloat16,
    hold_libraries_to_tier,
    limit_spinning,
    release_memory,
)
from luthier.settings import Settings


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_between_kept_pieces_goes_back() -> None:
    pieces = [b"x" * 100_000 for _ in range(2000)]
    pieces_in_use = pieces[::10]
    before = _resident_mb()
    del pieces
    release_memory()
    assert _resident_mb() < before - 100
    assert len(pieces_in_use) == 200


@pytest.mark.services
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc")
def test_freed_memory_is_kept_however_large_it_was() -> None:
    """Allocated once more, 64 MB take no new pages."""
    program = (
        "import resource\n"
        "from luthier.hardware import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "faults = []\n"
        "for count in (2**26, 2**26):\n"
        "    block = b'x' * count\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
        "    del block\n"
        "print(faults[1] - faults[0])\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) < 100


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "max\n", "memory.current": "5\n", "memory.stat": ""}, None),
        ({"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": "anon 1\ninactive_file 300\n"}, 400),
        ({"memory.max": "1000\n", "memory.current": "2000\n", "memory.stat": "anon 1\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "700",
                "memory/memory.usage_in_bytes": "200",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 50\n",
            },
            550,
        ),
        ({"memory.max": "1000\n"}, None),
        ({}, None),
    ],
)
def test_a_container_has_what_its_control_group_leaves(
    files: dict[str, str], left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.hardware._CONTROL_GROUPS", tmp_path)
    of_machine = available_memory()
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if left is None:
        assert available_memory() > of_machine // 2
    else:
        assert available_memory() == left


AVX2 = "avx2 fma f16c bmi1 bmi2 movbe"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"
HELD_DOWN_BY = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this CPU one with the given features; no variable holds it down."""
    for name in (*HELD_DOWN_BY, "LUTHIER_CPU_TIER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return lambda flags: monkeypatch.setattr("luthier.hardware.cpu_features", lambda: frozenset(flags.split()))


@pytest.mark.parametrize(
    ("flags", "tier"),
    [
        (f"{AVX512} avx512_bf16 avx512_vnni amx_bf16 amx_tile", "AMX"),
        (f"{AVX512} avx512_bf16 avx512_vnni", "AVX-512 bf16"),
        (f"{AVX512} amx_tile", "AVX-512"),
        (f"{AVX2} avx512f", "AVX2"),
        ("avx2", platform.machine()),
        ("asimd bf16", "NEON"),
    ],
)
def test_the_tier_is_the_fastest_that_the_cpu_has(
    flags: str, tier: str, cpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(flags)
    assert cpu_tier() == tier
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert cpu_tier() == f"{tier} ONEDNN_MAX_CPU_ISA=AVX2"


@pytest.mark.parametrize(
    ("limit", "tiers", "held"),
    [
        (None, ["avx512-bf16", "avx512-vnni", "avx512", "avx2", "baseline"], [None, None, None]),
        (
            "avx512-bf16",
            ["avx512-bf16", "avx512-vnni", "avx512", "avx2", "baseline"],
            ["AVX512_CORE_BF16", "avx512", "AVX512"],
        ),
        ("avx2", ["avx2", "baseline"], ["AVX2", "avx2", "AVX2"]),
        ("baseline", ["baseline"], ["SSE41", "default", "SSE4_2"]),
    ],
)
def test_a_variable_holds_everything_to_a_lower_tier(
    limit: str | None,
    tiers: list[str],
    held: list[str | None],
    cpu: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu(f"{AVX512} avx512_bf16 avx512_vnni")
    if limit:
        monkeypatch.setenv("LUTHIER_CPU_TIER", limit)
    hold_libraries_to_tier()
    assert [tier.name for tier in cpu_tiers()] == tiers
    assert [os.environ.get(name) for name in HELD_DOWN_BY] == held


@pytest.mark.parametrize(
    ("flags", "tier", "onednn", "is_fast"),
    [
        (f"{AVX512} avx512_bf16 avx512_vnni", None, None, True),
        (AVX512, None, None, True),
        (AVX2, None, None, False),
        (f"{AVX2} avx_vnni avx_vnni_int8 avx_ne_convert", None, None, True),
        (f"{AVX2} avx_vnni avx_vnni_int8 avx_ne_convert", "avx2", None, False),
        (f"{AVX512} avx512_bf16 avx512_vnni", "avx512", None, True),
        (f"{AVX512} avx512_bf16 avx512_vnni", "avx2", None, False),
        (f"{AVX512} avx512_bf16 avx512_vnni", None, "AVX2", None),
        ("asimd bf16", None, None, True),
        ("asimd", None, None, False),
        ("", None, None, None),
    ],
)
def test_whether_bfloat16_is_fast_is_known_without_torch(
    flags: str,
    tier: str | None,
    onednn: str | None,
    is_fast: bool | None,
    cpu: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu(flags)
    for name, value in (("LUTHIER_CPU_TIER", tier), ("ONEDNN_MAX_CPU_ISA", onednn)):
        if value:
            monkeypatch.setenv(name, value)
    hold_libraries_to_tier()
    assert has_bfloat16() is is_fast


@pytest.mark.parametrize(("stated", "threads"), [("3", 3), ("2,1", 2), ("", None), ("0", None), ("many", None)])
def test_threads_are_those_stated_or_the_cores(
    stated: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two CPUs of the same core count once."""
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 8})
    monkeypatch.setattr("luthier.hardware._siblings", lambda cpu: f"{cpu % 4}")
    assert compute_threads() == (threads or 4)


@pytest.mark.parametrize("limit", ["amx", "AVX2", "sse9"])
def test_a_tier_that_the_cpu_lacks_is_refused(
    limit: str, cpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(AVX2)
    monkeypatch.setenv("LUTHIER_CPU_TIER", limit)
    with pytest.raises(ValueError, match=f"LUTHIER_CPU_TIER={limit}: the tiers of this CPU are avx2, baseline"):
        Settings()


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_spin_briefly_unless_the_environment_says_how_to_wait(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(own))
    limit_spinning()
    assert os.environ == (own or {"GOMP_SPINCOUNT": "1000"})
