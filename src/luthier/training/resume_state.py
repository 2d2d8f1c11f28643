"""Where a job is, saved so that it can go on: adapter, optimizer and progress in one file that is whole or not there.

The order of examples and the learning rate are functions of the step, and nothing random is drawn after the
adapter's first weights; so this is all there is, and a resumed job takes the very steps that an uninterrupted
one would have taken.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """`step`: the last one taken. `unfinished`: its metrics, when validation after it was cut short.

    `best`: the epoch with the lowest full validation loss, as `step` and `metrics`. `most_tokens`: of a micro-batch.
    """

    step: int = 0
    unfinished: dict[str, float] | None = None
    best: dict[str, Any] | None = None
    most_tokens: int = 0


def save(
    path: Path, progress: Progress, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    path.parent.mkdir(exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"value:{name}"] = parameter.detach().cpu().contiguous()
        for moment in _MOMENTS:
            tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    new = path.with_suffix(".new")
    write(tensors, new, {"luthier": json.dumps(asdict(progress))})
    flush(new)
    new.replace(path)


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A safetensors file. Raises OSError."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # its word for a full disk
        raise OSError(f"{path}: {error}") from error


def flush(path: Path) -> None:
    """To the disk itself: a rename that outlives a power cut must not name an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def restore(path: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> Progress:
    """Puts everything back; a fresh start when there is no saved state."""
    if not path.exists():
        return Progress()
    with safe_open(path, framework="pt") as file:
        progress = Progress(**json.loads(file.metadata()["luthier"]))
        for name, parameter in parameters.items():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"value:{name}"))
            moments: dict[str, Any] = {
                moment: file.get_tensor(f"{moment}:{name}").to(parameter.device) for moment in _MOMENTS
            }
            step = torch.tensor(float(progress.step), device=parameter.device)
            optimizer.state[parameter] = {"step": step, **moments}
    return progress
