"""Training throughput of this machine: measured once in a child process, cached in the cache folder.

The cache key consists of base model, settings and hardware.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli.output import note
from luthier.language import say

if TYPE_CHECKING:
    from luthier.settings import Settings

_TIMEOUT_S = 600


def throughput(
    settings: Settings, cache: Path, base: Path, *, full: bool = False, again: bool = False
) -> dict[str, Any] | None:
    """The result of `luthier.training.throughput`; None, with a notice, if the measurement failed.

    `full`: of full fine-tuning instead of LoRA. `again`: ignores the cached result.
    """
    path = cache / "rates.json"
    cached = _read(path)
    key = " | ".join(
        [
            base.name,
            settings.device,
            settings.precision,
            str(settings.threads),
            *_hardware(),
            *(["full"] if full else []),
        ]
    )
    if again or key not in cached:
        result = _measure(settings, cache, base, full)
        if result is None:
            return None
        cached = {**_read(path), key: result}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(cached, indent=1), encoding="utf-8")
        temporary.replace(path)
    measured: dict[str, Any] = cached[key]
    return measured


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _hardware() -> list[str]:
    """CPU, cores, GPUs and PyTorch's version, without importing torch."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text(errors="replace").splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    gpus = Path("/proc/driver/nvidia/gpus")
    cards = [file.read_text(errors="replace").split("\n")[0] for file in sorted(gpus.glob("*/information"))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [cpu, str(os.cpu_count()), *cards, visible, version("torch")]


def _measure(settings: Settings, cache: Path, base: Path, full: bool) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "luthier.training.throughput", str(base), "--device", settings.device]
    command += ["--precision", settings.precision, "--threads", str(settings.threads)]
    command += ["--cache", str(cache), "--tuning", "full" if full else "lora"]
    note(say("Measuring the training throughput of this machine (once, about a minute) …",
             "正在测量本机的训练速度（只需一次，约一分钟）……"))  # fmt: skip
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        output = process.stderr.strip().splitlines() if not isinstance(error, subprocess.TimeoutExpired) else []
        cause = output[-1] if output else type(error).__name__
        note(say(f"The throughput could not be measured: {cause}", f"无法测量训练速度：{cause}"), "yellow")
        return None
    return result
