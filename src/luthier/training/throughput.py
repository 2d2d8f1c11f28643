"""`python -m luthier.training.throughput BASE`: training throughput of this machine, measured on a synthetic job.

Examples of about 120 tokens are trained as in any job; the first step, which allocates memory and chooses kernels, is
not counted. Prints one JSON object. Real data differs: examples with long shared prefixes train faster than this, very
long ones more slowly.
"""

import argparse
import json
import os
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from luthier.devices import DEVICES, select_device
from luthier.hardware import limit_spinning
from luthier.training import protocol
from luthier.training.job_spec import JobSpec

_EXAMPLES, _BATCH_SIZE, _WORDS = 64, 2, 24
_ENOUGH_STEPS, _ENOUGH_S = 5, 8.0
_TOO_LONG_S = 45.0  # then one step must suffice


class _Stopwatch:
    """Receives the trainer's events, and stops it once enough steps are timed."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self.tokens_per_step = 0.0
        self.hardware = ""
        self.times: list[float] = []

    def __call__(self, event: protocol.Event) -> None:
        match event:
            case protocol.Resolved():
                self.tokens_per_step = event.tokens / event.examples * _BATCH_SIZE
            case protocol.Hardware():
                self.hardware = event.label()
            case protocol.Metrics():
                self.times.append(time.monotonic())
                steps, duration_s = len(self.times) - 1, self.times[-1] - self.times[0]
                if (steps >= _ENOUGH_STEPS and duration_s > _ENOUGH_S) or (steps and duration_s > _TOO_LONG_S):
                    self._stop.set()

    @property
    def tokens_per_s(self) -> float:
        return self.tokens_per_step * (len(self.times) - 1) / (self.times[-1] - self.times[0])


def measure(base: Path, **spec_fields: Any) -> dict[str, Any]:
    """Trains on synthetic examples; `spec_fields` are those of a JobSpec (device, precision, threads, tuning).

    tokens_per_s: tokens of examples trained per second; peak_memory_bytes: of the process, or of the GPU if it trained
    there; adapter_bytes: one checkpoint, a complete model with full fine-tuning; state_bytes: the resume state.
    """
    from luthier.training.forward_pass import Stopped  # torch takes seconds to import
    from luthier.training.setup import build_trainer

    stop = Event()
    stopwatch = _Stopwatch(stop)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.jsonl").write_text("".join(_lines()), encoding="utf-8")
        hyperparameters = {"n_epochs": 50, "batch_size": _BATCH_SIZE}
        spec = JobSpec(base=str(base), base_name=base.name, seed=0, hyperparameters=hyperparameters, **spec_fields)
        spec.write(folder)
        with suppress(Stopped):
            build_trainer(folder, stopwatch, stop).run()
        state_bytes = sum(file.stat().st_size for file in (folder / "state").rglob("*") if file.is_file())
    parameter_bytes = state_bytes // 3  # the state holds the parameters in float32, and AdamW's two moments
    device, _ = select_device(spec.device, spec.precision)
    in_bfloat16 = spec.tuning == "full" and "bfloat16" in stopwatch.hardware
    return {
        "tokens_per_s": round(stopwatch.tokens_per_s, 1),
        "steps": len(stopwatch.times) - 1,
        "hardware": stopwatch.hardware,
        "peak_memory_bytes": DEVICES[device].peak_bytes(),
        "adapter_bytes": parameter_bytes // 2 if in_bfloat16 else parameter_bytes,
        "state_bytes": state_bytes,
    }


def _lines() -> list[str]:
    """Random words, so that examples share no prefix."""
    generator = random.Random(0)  # noqa: S311 - only has to be reproducible
    lines = []
    for _ in range(_EXAMPLES):
        question, answer = (" ".join(str(generator.randrange(100, 999)) for _ in range(_WORDS // 2)) for _ in range(2))
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}) + "\n")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cache", help="folder for compiled kernels")
    parser.add_argument("--tuning", choices=["lora", "full"], default="lora")
    arguments = vars(parser.parse_args())
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    limit_spinning()  # as the trainer does
    print(json.dumps(measure(arguments.pop("base"), **arguments)))


if __name__ == "__main__":
    main()
