"""The training loop: batches and log-probabilities in, steps, events and checkpoints out.

The loss of a step is the weighted sum over all its trained tokens divided by the sum of their weights, however
the step is cut into micro-batches.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from luthier.data.render import Rendered, Renderer
from luthier.training import examples as data
from luthier.training import model as adapters
from luthier.training import state
from luthier.training.core import log_probabilities, pack
from luthier.training.resolve import Resolved, resolve
from luthier.training.spec import JobSpec
from luthier.types.errors import JobError

Emit = Callable[[dict[str, Any]], None]

_WARM_UP_SHARE, _LEAST_WARM_UP, _FLOOR = 0.05, 5, 0.1
_CLIP = 1.0
_VALIDATE_EVERY = 10  # steps between validation losses on one batch; the whole file at the end of each epoch
_SAVE_EVERY_S = 30.0
_LONGEST_CONTEXT = 65_536  # OpenAI's limit for an example


class Stopped(Exception):  # noqa: N818 - not an error: the state is saved and the job can go on
    """The trainer was asked to stop, and did, with its state saved."""


class Trainer:
    """One job from where its folder says it is to its end."""

    def __init__(self, folder: Path, emit: Emit, stop: Event) -> None:
        self._folder, self._emit, self._stop = folder, emit, stop
        self._state = folder / "state" / "state.safetensors"

    def run(self) -> None:
        """Raises JobError for what the caller can mend, Stopped when `stop` was set."""
        spec = JobSpec.read(self._folder)
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self._load_data(spec)
        self._load_model(spec)
        try:
            done = state.restore(self._state, self._parameters, self._optimizer)
        except SafetensorError as error:
            self._emit({"type": "note", "message": f"The saved state cannot be read ({error}); training starts over"})
            done = 0
        if done:
            self._emit({"type": "note", "message": f"Training goes on after step {done}"})
        for step in range(done + 1, self._resolved.total_steps + 1):
            self._run_step(step)
        self._emit({"type": "finished", "trained_tokens": self._train.tokens * self._resolved.n_epochs})

    def _load_data(self, spec: JobSpec) -> None:
        base = Path(spec.base)
        template = Path(spec.parent) / "chat_template.jinja" if spec.parent else None
        self._renderer = Renderer(base, template)
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        context = min(getattr(config, "max_position_embeddings", None) or _LONGEST_CONTEXT, _LONGEST_CONTEXT)
        self._train = data.load(self._folder / "train.jsonl", self._renderer, context, "training_file")
        valid = self._folder / "valid.jsonl"
        self._valid = data.load(valid, self._renderer, context, "validation_file").rendered if valid.exists() else []
        count = len(self._train.rendered)
        self._resolved: Resolved = resolve(spec.hyperparameters, count, config.model_type, config.hidden_size)
        self._emit(
            {
                "type": "resolved",
                "hyperparameters": self._resolved.hyperparameters(),
                "message": self._resolved.message,
                "total_steps": self._resolved.total_steps,
                "examples": count,
                "tokens": self._train.tokens,
                "truncated": self._train.truncated,
            }
        )

    def _load_model(self, spec: JobSpec) -> None:
        self._spec = spec
        self._hardware = adapters.hardware(spec.device, spec.precision)
        self._model = adapters.load(spec, self._hardware)
        self._parameters = adapters.trainable(self._model)
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=self._resolved.learning_rate, weight_decay=0, fused=True
        )
        self._saved_at = time.monotonic()
        self._emit({"type": "note", "message": f"Training on {self._hardware}"})

    def _run_step(self, step: int) -> None:
        epoch, place = divmod(step - 1, self._resolved.steps_per_epoch)
        order = data.order(self._spec.seed, epoch, len(self._train.rendered))
        size = self._resolved.batch_size
        batch = [self._train.rendered[index] for index in order[place * size : (place + 1) * size]]
        metrics = self._update(step, batch)
        ends_epoch = place + 1 == self._resolved.steps_per_epoch
        if self._valid and step % _VALIDATE_EVERY == 0:
            start = (step // _VALIDATE_EVERY - 1) * size
            some = [self._valid[(start + offset) % len(self._valid)] for offset in range(min(size, len(self._valid)))]
            metrics |= _named("valid", *self._measure(some))
        if self._valid and ends_epoch:
            metrics |= _named("full_valid", *self._measure(self._valid))
        self._emit({"type": "metrics", "step": step, "total_steps": self._resolved.total_steps, "metrics": metrics})
        if ends_epoch:
            self._checkpoint(step, metrics)
        self._save_and_stop_if_asked(step, ends_epoch)

    def _update(self, step: int, batch: list[Rendered]) -> dict[str, float]:
        """One optimizer step."""
        total = sum(sum(example.weights[1:]) for example in batch)
        loss, right, count = 0.0, 0, 0
        for group in data.micro_batches(batch):
            packed = pack(group, self._hardware.device)
            with self._hardware.autocast():
                found, likeliest = log_probabilities(self._model, packed)
            part = -(found * packed.weights).sum() / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
            right += int(likeliest.sum())
            count += len(likeliest)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), _CLIP))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise JobError(
                "training_diverged",
                f"Step {step} gave a loss of {loss} with a gradient of {norm}: training diverged and was stopped. "
                "The checkpoints so far are usable. Try a smaller learning_rate_multiplier.",
                "hyperparameters",
            )
        for group_ in self._optimizer.param_groups:
            group_["lr"] = self._resolved.learning_rate * schedule(step, self._resolved.total_steps)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return _named("train", loss, right / count)

    @torch.no_grad()
    def _measure(self, examples: list[Rendered]) -> tuple[float, float]:
        """(loss, token accuracy) over all trained tokens of the examples."""
        self._model.eval()
        loss, weight, right, count = 0.0, 0.0, 0, 0
        for group in data.micro_batches(examples):
            packed = pack(group, self._hardware.device)
            with self._hardware.autocast():
                found, likeliest = log_probabilities(self._model, packed)
            loss -= float((found * packed.weights).sum())
            weight += float(packed.weights.sum())
            right += int(likeliest.sum())
            count += len(likeliest)
        self._model.train()
        return loss / weight, right / count

    def _checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        folder = self._folder / "checkpoints" / f"step-{step}"
        adapters.save_adapter(self._model, self._spec.base_name, self._renderer.template.text, folder)
        self._emit({"type": "checkpoint", "step": step, "folder": folder.name, "metrics": metrics})

    def _save_and_stop_if_asked(self, step: int, ends_epoch: bool) -> None:
        stop = self._stop.is_set()
        if stop or ends_epoch or time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            state.save(self._state, step, self._parameters, self._optimizer)
            self._saved_at = time.monotonic()
        if stop and step < self._resolved.total_steps:
            raise Stopped


def schedule(step: int, total: int) -> float:
    """The share of the peak rate at `step` (from 1): linear warm-up, then half a cosine down to a tenth."""
    warm_up = min(max(_LEAST_WARM_UP, round(total * _WARM_UP_SHARE)), max(total // 2, 1))
    if step <= warm_up:
        return step / warm_up
    progress = (step - warm_up) / max(total - warm_up, 1)
    return _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def _named(prefix: str, loss: float, accuracy: float) -> dict[str, float]:
    return {f"{prefix}_loss": loss, f"{prefix}_mean_token_accuracy": accuracy}
