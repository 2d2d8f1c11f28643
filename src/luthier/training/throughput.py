"""`python -m luthier.training.throughput BASE`: how fast this machine trains, measured by training a little.

A made-up job of some 120 tokens an example goes through the trainer as any job does; the first step, in which memory
is found and kernels are chosen, is not counted. Prints one JSON object. Knows nothing about the file that somebody
wants to train on: examples with long common beginnings train faster than this says, very long ones more slowly.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from luthier.training.job_spec import JobSpec

_EXAMPLES, _BATCH, _WORDS = 64, 2, 24
_LEAST_STEPS, _ENOUGH_S = 1, 8.0


class _Clock:
    """Hears what the trainer says, and stops it when enough steps were timed."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self.tokens_per_step = 0.0
        self.hardware = ""
        self.times: list[float] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event["type"] == "resolved":
            self.tokens_per_step = event["tokens"] / event["examples"] * _BATCH
        elif event["type"] == "note" and event["message"].startswith("Training on "):
            self.hardware = event["message"].removeprefix("Training on ")
        elif event["type"] == "metrics":
            self.times.append(time.monotonic())
            if len(self.times) > _LEAST_STEPS and self.times[-1] - self.times[0] > _ENOUGH_S:
                self._stop.set()

    @property
    def tokens_per_s(self) -> float:
        return self.tokens_per_step * (len(self.times) - 1) / (self.times[-1] - self.times[0])


def measure(base: Path, **given: Any) -> dict[str, Any]:
    """Train on a made-up file; `given` are fields of a JobSpec (device, precision, threads, tuning).

    tokens_per_s: tokens read and learnt in a second; peak_memory_bytes: of the process, or of the GPU if it trained
    there; adapter_bytes: one checkpoint, a whole model if all weights are trained; state_bytes: what a job that can go
    on keeps beside it.
    """
    from luthier.training.trainer import Stopped, Trainer  # torch takes seconds to import

    stop = Event()
    clock = _Clock(stop)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.jsonl").write_text("".join(_lines()), encoding="utf-8")
        asked = {"n_epochs": 50, "batch_size": _BATCH}
        JobSpec(base=str(base), base_name=base.name, seed=0, hyperparameters=asked, **given).write(folder)
        with suppress(Stopped):
            Trainer(folder, clock, stop).run()
        state_bytes = sum(file.stat().st_size for file in (folder / "state").rglob("*") if file.is_file())
    numbers_bytes = state_bytes // 3  # the state is what is trained, in float32, and AdamW's two moments of it
    halved = given.get("tuning") == "full" and "bfloat16" in clock.hardware  # as a whole model is saved
    return {
        "tokens_per_s": round(clock.tokens_per_s, 1),
        "steps": len(clock.times) - 1,
        "hardware": clock.hardware,
        "peak_memory_bytes": _peak_memory_bytes(),
        "adapter_bytes": numbers_bytes // 2 if halved else numbers_bytes,
        "state_bytes": state_bytes,
    }


def _lines() -> list[str]:
    """Different words in each, so that no two examples begin alike."""
    dice = random.Random(0)  # noqa: S311 - only has to be the same everywhere
    lines = []
    for _ in range(_EXAMPLES):
        question, answer = (" ".join(str(dice.randrange(100, 999)) for _ in range(_WORDS // 2)) for _ in range(2))
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}) + "\n")
    return lines


def _peak_memory_bytes() -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache", help="folder for compiled kernels")
    parser.add_argument("--tuning", choices=["lora", "full"], default="lora")
    given = vars(parser.parse_args())
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    print(json.dumps(measure(given.pop("base"), **given)))


if __name__ == "__main__":
    main()
