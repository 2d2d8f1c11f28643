"""The measurement is real training, and says what a job takes."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_measurement(tiny_base: Path) -> None:
    command = [sys.executable, "-c", "import luthier.training.rate as r; r._ENOUGH_S = 0.1; r.main()", str(tiny_base)]
    done = subprocess.run([*command, "--device", "cpu", "--precision", "float32"], capture_output=True, check=True)
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["tokens_per_s"] > 0
    assert made["steps"] >= 1
    assert made["hardware"].startswith("CPU, float32")
    assert made["peak_memory_bytes"] > made["state_bytes"] > made["adapter_bytes"] > 0
