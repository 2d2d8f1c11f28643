"""How fast this machine trains a base model: measured once by a child program, then remembered in the cache.

A measurement belongs to the base model, the settings and the hardware; anything else is measured anew.
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


def rate(settings: Settings, base: Path, *, full: bool = False, anew: bool = False) -> dict[str, Any] | None:
    """What `luthier.training.throughput` measured on this machine; None, with a notice, if it could not be measured.

    `full`: of training all weights instead of an adapter.
    """
    path = settings.cache / "rates.json"
    known = _read(path)
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
    if anew or key not in known:
        made = _measure(settings, base, full)
        if made is None:
            return None
        known = {**_read(path), key: made}
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(known, indent=1), encoding="utf-8")
        new.replace(path)
    found: dict[str, Any] = known[key]
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _hardware() -> list[str]:
    """Processor, cores, GPUs and PyTorch, told without importing it."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text(errors="replace").splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    gpus = Path("/proc/driver/nvidia/gpus")
    cards = [file.read_text(errors="replace").split("\n")[0] for file in sorted(gpus.glob("*/information"))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [cpu, str(os.cpu_count()), *cards, visible, version("torch")]


def _measure(settings: Settings, base: Path, full: bool) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "luthier.training.throughput", str(base), "--device", settings.device]
    command += ["--precision", settings.precision, "--threads", str(settings.threads)]
    command += ["--cache", str(settings.cache), "--tuning", "full" if full else "lora"]
    note(say("Training a little to measure this machine (once, about a minute) …",
             "正在试训练一小段，以测量本机速度（只需一次，约一分钟）……"))  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        said = done.stderr.strip().splitlines()[-1:] if not isinstance(error, subprocess.TimeoutExpired) else []
        why = said[0] if said else type(error).__name__
        note(say(f"The speed could not be measured: {why}", f"无法测量速度：{why}"), "yellow")
        return None
    return made
