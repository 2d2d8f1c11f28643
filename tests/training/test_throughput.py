"""The measurement is real training, and says what a job takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.hardware import cpu_tier


@pytest.mark.parametrize(("tuning", "precision", "share"), [("lora", "float32", 3), ("full", "bfloat16", 6)])
def test_a_measurement(tuning: str, precision: str, share: int, tiny_base: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import luthier.training.throughput as r; r._ENOUGH_S = 0.1; r.main()",
        str(tiny_base),
    ]
    done = subprocess.run(
        [*command, "--device", "cpu", "--precision", precision, "--tuning", tuning], capture_output=True, check=True
    )
    measurement = json.loads(done.stdout.splitlines()[-1])
    assert measurement["tokens_per_s"] > 0
    assert measurement["steps"] >= 1
    assert measurement["hardware"].startswith(f"CPU ({cpu_tier()}), {precision}")
    assert measurement["peak_memory_bytes"] > measurement["state_bytes"] > 0
    assert measurement["adapter_bytes"] == measurement["state_bytes"] // share
