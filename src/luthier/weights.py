"""The headers of the safetensors files in a model folder: which layers there are, and how many parameters.

Reads headers only, without torch. Nothing is assumed about architectures but the usual names of layers.
"""

import re
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from luthier.types.errors import BaseModelError, JobError

ALL_LINEAR = "all-linear"
# Files of a model folder beside its weights and its config, that a copy of the model needs.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "generation_config.json",
)
_GROUPS = {"attention": ("attn", "attention"), "mlp": ("mlp", "feed_forward", "ffn")}
_OTHER_TOWERS = re.compile(r"(?:^|\.)(?:embed_)?(?:vision|visual|audio|image)\w*\.")  # beside the text model
_NUMBERED = re.compile(r"\.\d+\.")
_LAYER = re.compile(r"\.\d+\.(?:.*\.)?(\w+)\.(\w+)\.weight")  # …layers.0.self_attn.q_proj.weight


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """The shape of every tensor of the text model by name. Raises BaseModelError."""
    shapes: dict[str, list[int]] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "np") as tensors:
                names = [name for name in tensors.keys() if not _OTHER_TOWERS.search(name)]  # noqa: SIM118
                shapes |= {name: tensors.get_slice(name).get_shape() for name in names}
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"The weights of {folder.name} cannot be read: {error}") from error
    if not shapes:
        raise BaseModelError(f"The folder {folder.name} has no weights as safetensors.")
    return shapes


def count_parameters(folder: Path) -> int:
    """The number of parameters. Raises BaseModelError."""
    return sum(prod(shape) for shape in tensor_shapes(folder).values())


def count_layer_parameters(folder: Path) -> int:
    """How many of the parameters belong to numbered layers. Raises BaseModelError."""
    return sum(prod(shape) for name, shape in tensor_shapes(folder).items() if _NUMBERED.search(name))


def is_float32(folder: Path) -> bool:
    """Whether every weight is stored in float32. Raises BaseModelError."""
    try:
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "np") as tensors:
                if any(tensors.get_slice(name).get_dtype() != "F32" for name in tensors.keys()):  # noqa: SIM118
                    return False
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"The weights of {folder.name} cannot be read: {error}") from error
    return True


def lora_targets(folder: Path, targets: str) -> str | list[str]:
    """`targets` as PEFT takes it, for this base model: `all-linear`, or names of layers.

    `targets` is `all-linear`, `attention`, `mlp`, or names separated by commas. Raises JobError naming the layers that
    exist, BaseModelError.
    """
    if targets == ALL_LINEAR:
        return targets
    parents = {
        match[2]: match[1]
        for name, shape in tensor_shapes(folder).items()
        if len(shape) == 2 and (match := _LAYER.search(name))
    }
    groups = {
        group: [name for name, parent in parents.items() if any(word in parent for word in words)]
        for group, words in _GROUPS.items()
    }
    names = groups.get(targets, targets.split(","))
    missing = [name for name in names if name not in parents]
    if missing or not names:
        raise JobError("invalid_targets", _target_error(missing or [targets], list(parents), groups), "metadata")
    return names


def _target_error(missing: list[str], layers: list[str], groups: dict[str, list[str]]) -> str:
    existing = [f"{group}: {', '.join(names)}" for group, names in groups.items() if names]
    others = [name for name in layers if not any(name in names for names in groups.values())]
    if others:
        existing.append(f"others: {', '.join(others)}")
    quoted = ", ".join(f"'{name}'" for name in missing)
    return f"The base model has no layers named {quoted}. It has {'; '.join(existing)}. Or take '{ALL_LINEAR}'."
