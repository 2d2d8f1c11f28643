"""Jobs as if they had been trained: rows in the store of a server without a worker, made in a moment."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard_jobs import EXAMPLES, INJECTED

from luthier.store import Event, Store

MODEL = "ft:gpt-4o-mini-2024-07-18:personal:demo:abcd1234"
LONG_STEPS = 4000
BEST_STEP = 18
_WAITING = ("validating_files",)
_HYPERPARAMETERS = {"n_epochs": 5, "batch_size": 4, "learning_rate_multiplier": 1.0}


@dataclass(frozen=True)
class SeededJobs:
    """`done` has left `MODEL` and checkpoints; `long` failed after `LONG_STEPS`; `wrong` failed at line 25 of `broken`;
    `waiting` waits for a worker.
    """

    done: str
    long: str
    wrong: str
    waiting: str
    file: str
    broken: str


class _Seeder:
    def __init__(self, data: Path, base: Path) -> None:
        self.store, self._data, self._base = Store(data), data, base

    def file(self, name: str, *lines: object) -> str:
        source = self._data / "upload"
        source.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        created = self.store.files.create(name, "fine-tune", source).id
        source.unlink(missing_ok=True)
        return created

    def job(self, training_file: str, **values: Any) -> str:
        method = {"type": "supervised", "supervised": {"hyperparameters": _HYPERPARAMETERS}}
        defaults = {"parent": None, "validation_file": None, "seed": 1, "integrations": [], "metadata": None}
        row = defaults | {"model": "gpt-4o-mini-2024-07-18", "base": str(self._base), "method": method} | values
        return self.store.jobs.create(training_file=training_file, **row).id

    def steps(self, job_id: str, count: int) -> None:
        """Training loss falls; full validation loss rises after `BEST_STEP`."""
        metrics: list[dict[str, float]] = [
            {"step": step, "total_steps": count, "train_loss": 3 - step / count + (step * 37 % 11) / 30}
            for step in range(1, count + 1)
        ]
        for data in metrics[5::6] if count < 100 else ():
            data["full_valid_loss"] = 2.5 + abs(data["step"] - BEST_STEP) / count
        self.store.jobs.record(job_id, *(_step(data) for data in metrics))

    def checkpoint(self, job_id: str, step: int, name: str) -> None:
        folder = self._data / f"adapter-{step}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
        metrics = {"step": step, "full_valid_loss": 2.5 + abs(step - BEST_STEP) / 30}
        result = Event(f"Checkpoint created at step {step}")
        self.store.models.add_checkpoint(
            self.store.jobs.get(job_id), name=name, step=step, metrics=metrics, source=folder, call_form=None,
            event=result, keep=9,
        )  # fmt: skip

    def end(self, job_id: str, status: Any, message: str, **values: Any) -> None:
        finished_at = self.store.jobs.get(job_id).created_at + 73
        self.store.jobs.transition(job_id, _WAITING, status, Event(message), finished_at=finished_at, **values)


def _step(data: dict[str, float]) -> Event:
    return Event(f"Step {data['step']}", type="metrics", data=data, step=int(data["step"]))


def seed(data: Path, base: Path) -> SeededJobs:
    """Names, metadata, events and data try to become markup."""
    seeder = _Seeder(data, base)
    hostile = {"messages": [{"role": "user", "content": INJECTED}, {"role": "assistant", "content": INJECTED}]}
    comma, unanswered = json.dumps(EXAMPLES[0])[:-1] + ",}", {"messages": [{"role": "user", "content": "nobody"}]}
    file, broken = (
        seeder.file("hostile.jsonl", *EXAMPLES, hostile),
        seeder.file("broken.jsonl", *EXAMPLES, comma, unanswered),
    )
    done = seeder.job(file, suffix="demo", metadata={"team": "blue", INJECTED[:60]: INJECTED})
    seeder.steps(done, 30)
    for step in (6, BEST_STEP, 30):
        seeder.checkpoint(done, step, MODEL if step == 30 else f"{MODEL}:ckpt-step-{step}")
    seeder.end(done, "succeeded", "The job has successfully completed", fine_tuned_model=MODEL, trained_tokens=12345)
    long = seeder.job(file, suffix="yesterday", seed=7, metadata={"team": INJECTED[:200]})
    seeder.steps(long, LONG_STEPS)
    seeder.end(long, "failed", INJECTED, error={"code": "trainer_died", "message": INJECTED, "param": None})
    wrong = seeder.job(broken, suffix="wrong")
    error = {"code": "invalid_training_file", "message": "Line 25 is no JSON.", "param": "training_file"}
    seeder.end(wrong, "failed", "The job failed", error=error)
    waiting = seeder.job(file, suffix="waiting")
    seeder.store.close()
    return SeededJobs(done, long, wrong, waiting, file, broken)
