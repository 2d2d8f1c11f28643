"""Where a job is, saved so that it can go on: adapter, optimizer and step in one file that is whole or not there.

The order of examples and the learning rate are functions of the step, and nothing random is drawn after the
adapter's first weights; so this is all there is, and a resumed job takes the very steps that an uninterrupted
one would have taken.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save(path: Path, step: int, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    path.parent.mkdir(exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"value:{name}"] = parameter.detach().cpu().contiguous()
        for moment in _MOMENTS:
            tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    new = path.with_suffix(".new")
    save_file(tensors, new, metadata={"luthier": json.dumps({"step": step})})
    flush(new)
    new.replace(path)


def flush(path: Path) -> None:
    """To the disk itself: a rename that outlives a power cut must not name an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def restore(path: Path, parameters: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Puts everything back; returns the step that was done last, 0 when there is no saved state."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        step: int = json.loads(file.metadata()["luthier"])["step"]
        for name, parameter in parameters.items():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"value:{name}"))
            moments: dict[str, Any] = {
                moment: file.get_tensor(f"{moment}:{name}").to(parameter.device) for moment in _MOMENTS
            }
            optimizer.state[parameter] = {"step": torch.tensor(float(step), device=parameter.device), **moments}
    return step
