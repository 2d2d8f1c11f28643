"""The training loop: batches and log-probabilities in, steps, events and checkpoints out.

The loss of a step is the weighted sum over all its trained tokens divided by the sum of their weights, however
the step is cut into micro-batches.
"""

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from luthier.data.rendering import parity_samples
from luthier.data.rendering.renderer import Renderer
from luthier.data.rendering.tool_dropout import Mix
from luthier.hardware import give_back
from luthier.training import batching, dataset, resume_state, token_budget
from luthier.training.batching import Item
from luthier.training.hyperparameters import Resolved, resolve
from luthier.training.job_spec import JobSpec
from luthier.training.kernels import bindings
from luthier.training.logprobs import Batch, log_probabilities, pack
from luthier.training.lora import adapter as adapters
from luthier.training.lora import full_finetune
from luthier.training.objectives import Objective, Preference, Supervised, sums
from luthier.types.errors import JobError
from luthier.types.job_options import step_at

Emit = Callable[[dict[str, Any]], None]

_WARM_UP_SHARE, _LEAST_WARM_UP, _FLOOR = 0.05, 5, 0.1
_CLIP = 1.0
_PROOFS, _PROOF_TOKENS = 4, 2048
_PROOF_ANSWER = 64  # tokens of an answer at least, however long its prompt is
_VALIDATE_EVERY = 10  # steps between validation losses on one batch; the whole file at the end of each epoch
_SAVE_EVERY_S = 30.0
_SAVING_SHARE = 20  # a large state is saved less often: a twentieth of the time at most
_GIVE_BACK_EVERY_S = 60.0
_AT_ONCE = 256  # examples in memory while a whole file is measured
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
        if spec.cache:
            bindings.use_cache(Path(spec.cache))
        self._load_data(spec)
        self._load_model(spec)
        self._load_objective(spec)
        self._restore()
        if self._progress.unfinished is not None:
            self._conclude(self._progress.unfinished)
        gc.freeze()  # a collection need not go through all that was loaded
        for step in range(self._progress.step + 1, self._resolved.total_steps + 1):
            metrics = self._update(step)
            self._progress.step = step
            self._conclude(metrics)
        trained = sum(self._train.tokens(self._shown(epoch)) for epoch in range(self._resolved.n_epochs))
        self._emit({"type": "finished", "trained_tokens": trained})

    def _load_data(self, spec: JobSpec) -> None:
        self._spec = spec
        base = Path(spec.base)
        template = Path(spec.parent) / "chat_template.jinja" if spec.parent else None
        self._renderer = Renderer(base, template)
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        context = min(getattr(config, "max_position_embeddings", None) or _LONGEST_CONTEXT, _LONGEST_CONTEXT)
        self._mix = Mix.parse(spec.definitions)
        reading = dataset.Reading(self._renderer, context, spec.method, self._mix, spec.seed)
        self._train = dataset.load(self._folder / "train.jsonl", reading, "training_file", add=True)
        valid = self._folder / "valid.jsonl"
        self._valid = dataset.load(valid, reading, "validation_file") if valid.exists() else None
        count = len(self._train)
        self._resolved: Resolved = resolve(
            spec.hyperparameters, count, config.model_type, config.hidden_size, spec.method, spec.tuning
        )
        self._emit(
            {
                "type": "resolved",
                "hyperparameters": self._resolved.hyperparameters(),
                "message": self._resolved.message,
                "total_steps": self._resolved.total_steps,
                "examples": count,
                "tokens": self._train.tokens(self._shown(0)),
                "truncated": self._train.truncated,
            }
        )

        if self._train.views > 1:
            shares = ", ".join(f"{100 * share:.0f} %" for share in (self._mix.full, self._mix.slim, self._mix.none))
            said = f"Function definitions are shown in full, slim and not at all, in {shares} of the epochs"
            if self._train.added:
                said += f"; {self._train.added} examples without a call were added, since the file has none"
            self._emit({"type": "note", "message": said})

    def _shown(self, epoch: int) -> np.ndarray:
        """How each example is shown in an epoch: a function of seed and epoch alone, so that a resumed job agrees."""
        return self._mix.shown(self._spec.seed, epoch, len(self._train))

    def _load_model(self, spec: JobSpec) -> None:
        self._hardware = adapters.hardware(spec.device, spec.precision)
        self._model = adapters.load(spec, self._hardware)
        self._parameters = adapters.trainable(self._model)
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=self._resolved.learning_rate, weight_decay=0, fused=True
        )
        self._saved_at, self._save_every_s = time.monotonic(), _SAVE_EVERY_S
        self._gave_back_at = self._saved_at
        self._emit({"type": "note", "message": f"Training on {self._hardware}"})
        self._emit({"type": "note", "message": adapters.described(self._model)})
        if self._hardware.device.type == "cpu" and bindings.library() is None:
            self._emit({"type": "note", "message": bindings.MISSING})
        full = spec.tuning == "full"
        reserved_bytes = full_finetune.step_bytes(self._model) if full else 0
        config = adapters.base_of(self._model).config
        where = self._hardware.device, torch.float32 if full else self._hardware.dtype
        self._progress = resume_state.Progress(
            most_tokens=token_budget.micro_batch_tokens(config, *where, reserved_bytes)
        )
        longest = max(self._train.longest, self._valid.longest if self._valid else 0)
        if token_budget.too_long(longest, config, *where):
            adapters.recompute(self._model)
            said = f"Memory is short for examples of {longest} tokens: layers are computed twice to save it"
            self._emit({"type": "note", "message": said})

    def _load_objective(self, spec: JobSpec) -> None:
        self._objective: Objective = Supervised()
        self._references: dict[str, np.ndarray] = {}
        if spec.method == "dpo":
            self._objective = Preference(self._resolved.beta or 0.0)
            for name, examples in (("train", self._train), ("valid", self._valid)):
                if examples:
                    self._references[name] = self._reference(examples, self._folder / f"{name}.reference.npy")

    def _restore(self) -> None:
        try:
            found = resume_state.restore(self._state, self._parameters, self._optimizer)
        except SafetensorError as error:
            self._emit({"type": "note", "message": f"The saved state cannot be read ({error}); training starts over"})
            return
        if found.step:
            found.most_tokens = min(found.most_tokens, self._progress.most_tokens)  # there may be less memory than then
            self._progress = found
            self._emit({"type": "note", "message": f"Training goes on after step {found.step}"})

    def _items(self, name: str, indices: Iterable[int], epoch: int = 0) -> list[Item]:
        """Validation always sees the examples as in the first epoch, so that its losses can be compared."""
        examples = self._train if name == "train" else self._valid
        reference = self._references.get(name)
        if examples is None:
            return []
        shown = self._mix.shown(self._spec.seed, epoch, len(examples))
        return [
            Item(
                index, examples.example(index, int(shown[index])), () if reference is None else tuple(reference[index])
            )
            for index in map(int, indices)
        ]

    def _batch(self, step: int) -> list[Item]:
        epoch, place = divmod(step - 1, self._resolved.steps_per_epoch)
        size = self._resolved.batch_size
        count = len(self._train)
        if self._train.views > 1:
            order = batching.order_of_mix(self._spec.seed, epoch, count, size, self._mix)
        else:
            order = batching.order(self._spec.seed, epoch, count)
        return self._items("train", order[place * size : (place + 1) * size], epoch)

    def _update(self, step: int) -> dict[str, float]:
        """One optimizer step."""
        batch = self._batch(step)
        total = self._objective.weight(batch)
        loss, right, count = 0.0, 0, 0
        for group, packed, found, likeliest in self._computed(batch):
            part = self._objective.loss(found, packed, group) / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
            counted = self._objective.counted(packed)
            right += int((likeliest & counted).sum())
            count += int(counted.sum())
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
        if time.monotonic() - self._gave_back_at > _GIVE_BACK_EVERY_S:
            give_back()  # rows are always of new length
            self._gave_back_at = time.monotonic()
        return _named("train", loss, right / count)

    def _computed(self, items: list[Item]) -> Iterator[tuple[list[Item], Batch, torch.Tensor, torch.Tensor]]:
        """(items, batch, log-probabilities, whether likeliest) for each micro-batch."""
        for group in batching.micro_batches(items, self._progress.most_tokens):
            packed = pack([part for item in group for part in item.parts], self._hardware.device)
            with self._hardware.autocast():
                yield group, packed, *log_probabilities(self._model, packed)

    @torch.no_grad()
    def _measure(self, indices: range) -> tuple[float, float]:
        """(loss, token accuracy) over these examples of the validation file. Raises Stopped when `stop` is set."""
        loss, weight, right, count = 0.0, 0.0, 0, 0
        for items in self._some("valid", indices):
            weight += self._objective.weight(items)
            for group, packed, found, likeliest in self._computed(items):
                loss += float(self._objective.loss(found, packed, group))
                counted = self._objective.counted(packed)
                right += int((likeliest & counted).sum())
                count += int(counted.sum())
        return loss / weight, right / count

    def _some(self, name: str, indices: range) -> Iterator[list[Item]]:
        """A few examples at a time. Raises Stopped when `stop` is set."""
        for start in range(0, len(indices), _AT_ONCE):
            if self._stop.is_set():
                raise Stopped
            yield self._items(name, indices[start : start + _AT_ONCE])

    @torch.no_grad()
    def _reference(self, examples: dataset.Dataset, path: Path) -> np.ndarray:
        """float32 [examples, 2]: the log-probabilities of both answers before training; computed once per job."""
        if not path.exists():
            made = np.zeros((len(examples), 2), dtype=np.float32)
            name = path.name.split(".")[0]
            for items in self._some(name, range(len(examples))):
                for group, packed, found, _ in self._computed(items):
                    made[[item.index for item in group]] = sums(found, packed, 2 * len(group)).view(-1, 2).cpu()
            with path.with_suffix(".new").open("wb") as file:
                np.save(file, made)
            path.with_suffix(".new").replace(path)
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def _conclude(self, metrics: dict[str, float]) -> None:
        """What follows a step: validation, its event, a checkpoint, saving, stopping."""
        step = self._progress.step
        ends_epoch = step % self._resolved.steps_per_epoch == 0
        if self._valid:
            try:
                valid = self._validate(step, ends_epoch)
            except Stopped:
                self._progress.unfinished = metrics
                self._save()
                raise
            metrics = metrics | valid
        self._progress.unfinished = None
        self._emit({"type": "metrics", "step": step, "total_steps": self._resolved.total_steps, "metrics": metrics})
        if ends_epoch:
            self._checkpoint(step, metrics)
        stop = self._stop.is_set()
        if stop or ends_epoch or time.monotonic() - self._saved_at > self._save_every_s:
            self._save()
        if stop and step < self._resolved.total_steps:
            raise Stopped

    def _validate(self, step: int, ends_epoch: bool) -> dict[str, float]:
        """One batch every few steps; the whole file at the end of each epoch, and where the job asks for it."""
        count = len(self._valid or ())
        found: dict[str, float] = {}
        if step % _VALIDATE_EVERY == 0:
            size = min(self._resolved.batch_size, count)
            start = (step // _VALIDATE_EVERY - 1) * size % count
            found |= _named("valid", *self._measure(range(start, min(start + size, count))))
        total = self._resolved.total_steps
        if ends_epoch or step in (step_at(share, total) for share in self._spec.validate_at):
            found |= _named("full_valid", *self._measure(range(count)))
        return found

    def _save(self) -> None:
        started = time.monotonic()
        events = self._folder / "events.jsonl"
        if events.exists():  # of a step that is never taken again, nothing may be lost with the power
            resume_state.flush(events)
        resume_state.save(self._state, self._progress, self._parameters, self._optimizer)
        self._saved_at = time.monotonic()
        self._save_every_s = max(_SAVE_EVERY_S, _SAVING_SHARE * (self._saved_at - started))

    def _checkpoint(self, step: int, metrics: dict[str, float]) -> None:
        """The last one becomes the fine-tuned model: with a validation file, the best epoch's weights."""
        loss, best = metrics.get("full_valid_loss"), self._progress.best
        if loss is not None and (best is None or loss < best["metrics"]["full_valid_loss"]):
            best = self._progress.best = {"step": step, "metrics": metrics}
            self._save_adapter("best")
        if step == self._resolved.total_steps and best and best["step"] < step:
            said = (
                f"The fine-tuned model is that of step {best['step']}, which had the lowest full validation loss: "
                f"{best['metrics']['full_valid_loss']:.4f}, against {loss:.4f} after the last step"
            )
            self._emit({"type": "note", "message": said})
            name, metrics = "best", {"step": best["step"], **best["metrics"]}
        else:
            name = self._save_adapter(f"step-{step}")
        self._emit({"type": "checkpoint", "step": step, "folder": name, "metrics": metrics})

    def _save_adapter(self, name: str) -> str:
        folder = self._folder / "checkpoints" / name
        adapters.save(self._model, self._spec, self._renderer.template.text, folder, self._hardware)
        parity_samples.write(folder, self._proofs())
        return name

    @torch.no_grad()
    def _proofs(self) -> list[parity_samples.Proof]:
        """What the model says of a few examples, held out if there are any; the serving path must say the same."""
        name = "valid" if self._valid else "train"
        count = min(_PROOFS, len(self._valid or self._train))
        made = []
        for item in self._items(name, range(count)):
            whole = item.parts[0]
            end = max(_PROOF_TOKENS, 1 + int(whole.weights[1:].nonzero()[0][0]) + _PROOF_ANSWER)
            tokens = dataset.Tokens(whole.ids[:end], whole.weights[:end])
            packed = pack([tokens], self._hardware.device)
            with self._hardware.autocast():
                found, likeliest = log_probabilities(self._model, packed)
            at = [index for index, weight in enumerate(tokens.weights) if weight and index]
            made.append(parity_samples.Proof(tokens.ids.tolist(), at, found.tolist(), likeliest.tolist()))
        return made


def schedule(step: int, total: int) -> float:
    """The share of the peak rate at `step` (from 1): linear warm-up, then half a cosine down to a tenth."""
    warm_up = min(max(_LEAST_WARM_UP, round(total * _WARM_UP_SHARE)), max(total // 2, 1))
    if step <= warm_up:
        return step / warm_up
    progress = (step - warm_up) / max(total - warm_up, 1)
    return _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def _named(prefix: str, loss: float, accuracy: float) -> dict[str, float]:
    return {f"{prefix}_loss": loss, f"{prefix}_mean_token_accuracy": accuracy}
