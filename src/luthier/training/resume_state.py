"""The resume state of a job: trained weights, AdamW's moments and progress, in one safetensors file.

The order of the examples and the learning rate are functions of the step, and nothing random is drawn after the
adapter's initial weights. So this is the complete state: a resumed job computes the same steps, bit for bit, as an
uninterrupted one.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from luthier.training.durable_files import flush, write_safetensors

_MOMENTS = ("exp_avg", "exp_avg_sq")
_SAVE_EVERY_S = 30.0
_MIN_INTERVAL_PER_SAVE = 20  # a large state is saved less often: saving takes at most a twentieth of the time


@dataclass
class BestStep:
    """The step with the lowest full validation loss, and its metrics."""

    step: int
    metrics: dict[str, float]


@dataclass
class Progress:
    """`step`: the last optimizer step. `pending_metrics`: those of that step, when its validation was interrupted.

    `validations_since_best`: full validations after the best step. `stopped_early`: no further step is taken.
    `micro_batch_tokens`: the token budget of a micro-batch, which must not change for losses to be reproduced.
    """

    step: int = 0
    pending_metrics: dict[str, float] | None = None
    best: BestStep | None = None
    validations_since_best: int = 0
    stopped_early: bool = False
    micro_batch_tokens: int = 0

    def to_json(self) -> str:
        best = self.best and {"step": self.best.step, "metrics": self.best.metrics}
        return json.dumps(
            {
                "step": self.step,
                "unfinished": self.pending_metrics,
                "best": best,
                "since_best": self.validations_since_best,
                "stopped": self.stopped_early,
                "most_tokens": self.micro_batch_tokens,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        fields = json.loads(text)
        return cls(
            step=fields["step"],
            pending_metrics=fields.get("unfinished"),
            best=fields.get("best") and BestStep(**fields["best"]),
            validations_since_best=fields.get("since_best", 0),
            stopped_early=fields.get("stopped", False),
            micro_batch_tokens=fields.get("most_tokens", 0),
        )


class ResumeState:
    """Saves and restores `progress`, the parameters and the optimizer of one job folder."""

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        self._path = folder / "state" / "state.safetensors"
        self._events = folder / "events.jsonl"
        self._parameters, self._optimizer = parameters, optimizer
        self.progress = progress
        self._saved_at, self._interval_s = time.monotonic(), _SAVE_EVERY_S

    def is_due(self) -> bool:
        return time.monotonic() - self._saved_at > self._interval_s

    def save(self) -> None:
        """Replaces the file in one rename. Steps in it never run again, so their events are flushed first."""
        started = time.monotonic()
        if self._events.exists():
            flush(self._events)
        self._path.parent.mkdir(exist_ok=True)
        new = self._path.with_suffix(".new")
        write_safetensors(self._tensors(), new, {"luthier": self.progress.to_json()})
        flush(new)
        new.replace(self._path)
        self._saved_at = time.monotonic()
        self._interval_s = max(_SAVE_EVERY_S, _MIN_INTERVAL_PER_SAVE * (self._saved_at - started))

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters.items():
            tensors[f"value:{name}"] = parameter.detach().cpu().contiguous()
            for moment in _MOMENTS:
                tensors[f"{moment}:{name}"] = self._optimizer.state[parameter][moment].cpu().contiguous()
        return tensors

    def restore(self) -> bool:
        """False when there is no saved state. Raises SafetensorError for a damaged file.

        The token budget never grows above the present one: less memory may be free than when the state was saved.
        """
        if not self._path.exists():
            return False
        with safe_open(self._path, framework="pt") as file:
            progress = Progress.from_json(file.metadata()["luthier"])
            for name, parameter in self._parameters.items():
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"value:{name}"))
                moments: dict[str, Any] = {
                    moment: file.get_tensor(f"{moment}:{name}").to(parameter.device) for moment in _MOMENTS
                }
                step = torch.tensor(float(progress.step), device=parameter.device)
                self._optimizer.state[parameter] = {"step": step, **moments}
        progress.micro_batch_tokens = min(progress.micro_batch_tokens, self.progress.micro_batch_tokens)
        self.progress = progress
        return progress.step > 0
