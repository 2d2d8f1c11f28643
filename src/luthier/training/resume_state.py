"""The resume state of a job: trained weights, AdamW's moments and progress, in one safetensors file.

The order of the examples and the learning rate are functions of the step, and nothing random is drawn after the
adapter's initial weights. So this is the complete state: a resumed job computes the same steps, bit for bit, as an
uninterrupted one.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from luthier.training.durable_files import flush, write_safetensors
from luthier.types.durable_text import rename_durably

_MOMENTS = ("exp_avg", "exp_avg_sq")
_PREFIX, _SUFFIX = "state-", ".safetensors"
_SAVE_EVERY_S = 30.0
_MIN_INTERVAL_PER_SAVE = 20  # a large state is saved less often, so that saving takes at most a twentieth of the time


@dataclass
class BestStep:
    """The step with the lowest full validation loss, and its metrics."""

    step: int
    metrics: dict[str, float]


@dataclass
class Progress:
    """`step`: the last optimizer step. `pending_metrics`: those of that step, when its validation was interrupted.

    `validations_since_best`: full validations after the best step. `stopped_early`: no further step is taken.
    `micro_batch_tokens`: the token budget of the micro-batches that are computed at once, which must not change for
    losses to be reproduced.
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


class DamagedStateError(Exception):
    """A saved state differs from what was written."""


class ResumeState:
    """Saves and restores `progress`, the parameters and the optimizer of one job folder.

    Each claim of the job has its own file, named after its fencing token, so that a trainer whose worker has lost the
    job cannot replace the state of its successor.
    """

    def __init__(
        self,
        folder: Path,
        token: int,
        parameters: dict[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        self._folder, self._token = folder / "state", token
        self._events = folder / "events.jsonl"
        self._parameters, self._optimizer = parameters, optimizer
        self.progress = progress
        self._saved_at, self._interval_s = time.monotonic(), _SAVE_EVERY_S

    def is_due(self) -> bool:
        return time.monotonic() - self._saved_at > self._interval_s

    def save(self) -> None:
        """Replace the file in one rename. Steps in it never run again, so their events are flushed first."""
        started = time.monotonic()
        if self._events.exists():
            flush(self._events)
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{_PREFIX}{self._token}{_SUFFIX}"
        # safetensors writes to a path, and `replace_durably` yields an open file
        partial_path = path.with_suffix(".new")
        tensors, progress = self._tensors(), self.progress.to_json()
        checksum = _checksum(progress, ((name, tensors[name]) for name in sorted(tensors)))
        write_safetensors(tensors, partial_path, {"luthier": progress, "sha256": checksum})
        flush(partial_path)
        rename_durably(partial_path, path)
        for token, earlier in self._saved():
            if token < self._token:
                earlier.unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self._interval_s = max(_SAVE_EVERY_S, _MIN_INTERVAL_PER_SAVE * (self._saved_at - started))

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters.items():
            tensors[f"value:{name}"] = parameter.detach().cpu().contiguous()
            for moment in _MOMENTS:
                tensors[f"{moment}:{name}"] = self._optimizer.state[parameter][moment].cpu().contiguous()
        return tensors

    def _saved(self) -> Iterator[tuple[int, Path]]:
        """The states of all claims, by token; -1 for that of an earlier release, which had no tokens."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            token = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            yield int(token) if token.isdecimal() else -1, path

    def restore(self) -> bool:
        """Restore the state of the newest claim; False if there is none.

        Raises DamagedStateError, before anything is restored.

        The token budget never grows above the present one: less memory may be free than when the state was saved.
        """
        saved = [entry for entry in self._saved() if entry[0] <= self._token]
        if not saved:
            return False
        try:
            with safe_open(max(saved)[1], framework="pt") as file:
                progress = _verified_progress(file)
                self._restore_tensors(file, progress.step)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedStateError(str(error)) from error
        progress.micro_batch_tokens = min(progress.micro_batch_tokens, self.progress.micro_batch_tokens)
        self.progress = progress
        return progress.step > 0

    def _restore_tensors(self, file: Any, last_step: int) -> None:
        for name, parameter in self._parameters.items():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"value:{name}"))
            moments: dict[str, Any] = {
                moment: file.get_tensor(f"{moment}:{name}").to(parameter.device) for moment in _MOMENTS
            }
            step = torch.tensor(float(last_step), device=parameter.device)
            self._optimizer.state[parameter] = {"step": step, **moments}


def _verified_progress(file: Any) -> Progress:
    """Raises ValueError for content that does not match its checksum; files of earlier releases have none."""
    metadata: dict[str, str] = file.metadata()
    names = sorted(file.keys())
    if "sha256" in metadata:
        checksum = _checksum(metadata["luthier"], ((name, file.get_tensor(name)) for name in names))
        if checksum != metadata["sha256"]:
            raise ValueError("it does not match its checksum")
    return Progress.from_json(metadata["luthier"])


def _checksum(progress: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 of progress, names and bytes; one tensor is in memory at a time."""
    digest = hashlib.sha256(progress.encode())
    for name, tensor in tensors:
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
