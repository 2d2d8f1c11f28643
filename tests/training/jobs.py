"""Small jobs on the tiny base, and trainers run inside the test."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from luthier.training.forward_pass import Stopped
from luthier.training.job_spec import JobSpec
from luthier.training.protocol import Event
from luthier.training.setup import build_trainer
from luthier.training.trainer import Trainer

EXAMPLES = [
    {
        "messages": [
            {"role": "system", "content": "s" * (1 + index % 5)},
            {"role": "user", "content": f"number {index}"},
            {"role": "assistant", "content": "odd" * (1 + index % 3) if index % 2 else "even"},
        ]
    }
    for index in range(12)
]


def write_job(
    folder: Path, base: Path, examples: list[dict[str, Any]] = EXAMPLES, valid: int = 0, **overrides: Any
) -> Path:
    """A job folder: the last `valid` examples are held out; `overrides` are hyperparameters, or fields of the spec."""
    folder.mkdir(parents=True)
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    hyperparameters = {"n_epochs": 2, "batch_size": 4} | {key: overrides.pop(key) for key in names if key in overrides}
    lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]
    (folder / "train.jsonl").write_text("".join(lines[: len(lines) - valid]), encoding="utf-8")
    if valid:
        (folder / "valid.jsonl").write_text("".join(lines[-valid:]), encoding="utf-8")
    fields = {"base": str(base), "base_name": "tiny", "seed": 1, "precision": "float32", "device": "cpu", "threads": 1}
    JobSpec(**{**fields, **overrides}, hyperparameters=hyperparameters).write(folder)
    return folder


def train(
    folder: Path,
    *,
    stop_after: int | None = None,
    at_step: Callable[[Trainer], None] | None = None,
    at_start: Callable[[Trainer], None] | None = None,
) -> list[dict[str, Any]]:
    """Runs the trainer in this process; returns its events as JSON objects. `stop_after`: stop after that step."""
    events: list[dict[str, Any]] = []
    stop = threading.Event()

    def emit(event: Event) -> None:
        events.append(event.model_dump())
        if event.type == "metrics" and event.step == stop_after:
            stop.set()
        if event.type == "metrics" and at_step:
            at_step(trainer)

    threads = torch.get_num_threads()  # a tiny model is slower on many, and tests that follow want them back
    try:
        trainer = build_trainer(folder, emit, stop)
        if at_start:
            at_start(trainer)
        trainer.run()
    except Stopped:
        events.append({"type": "stopped"})
    finally:
        torch.set_num_threads(threads)
    return events


def losses(events: list[dict[str, Any]]) -> list[float]:
    return [event["metrics"]["train_loss"] for event in events if event["type"] == "metrics"]
