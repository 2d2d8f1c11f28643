"""What the safetensors files of a model folder say of themselves: which layers there are, and how many weights.

Reads their headers alone, without torch. Knows nothing about architectures beyond how layers are commonly named.
"""

import re
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from luthier.types.errors import BaseModelError, JobError

ALL_LINEAR = "all-linear"
_GROUPS = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn")}
_LAYER = re.compile(r"\.\d+\.(?:.*\.)?(\w+)\.(\w+)\.weight")  # …layers.0.self_attn.q_proj.weight


def shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of every tensor. Raises BaseModelError."""
    found: dict[str, list[int]] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "np") as tensors:
                found |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"The weights of {folder.name} cannot be read: {error}") from error
    if not found:
        raise BaseModelError(f"The folder {folder.name} has no weights as safetensors.")
    return found


def count(folder: Path) -> int:
    """How many numbers the weights are. Raises BaseModelError."""
    return sum(prod(shape) for shape in shapes(folder).values())


def lora_targets(folder: Path, asked: str) -> str | list[str]:
    """What `asked` (`all-linear`, `attention`, `mlp`, or names with commas between) stands for in this base model,
    as PEFT takes it.

    Raises JobError naming the layers that there are, BaseModelError.
    """
    if asked == ALL_LINEAR:
        return asked
    parents = {
        found[2]: found[1]
        for name, shape in shapes(folder).items()
        if len(shape) == 2 and (found := _LAYER.search(name))
    }
    groups = {
        group: [name for name, parent in parents.items() if any(word in parent for word in words)]
        for group, words in _GROUPS.items()
    }
    names = groups.get(asked, asked.split(","))
    unknown = [name for name in names if name not in parents]
    if unknown or not names:
        known = "; ".join(f"{group}: {', '.join(layers)}" for group, layers in groups.items() if layers)
        rest = [name for name in parents if not any(name in layers for layers in groups.values())]
        known = "; ".join([known, f"others: {', '.join(rest)}"] if rest else [known])
        what = "has no layers named " + ", ".join(f"'{name}'" for name in unknown or [asked])
        raise JobError("invalid_targets", f"The base model {what}. It has {known}. Or take '{ALL_LINEAR}'.", "metadata")
    return names
