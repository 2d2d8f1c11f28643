"""LoRA factors from PEFT folders (safetensors only), for models with fused projections. Imports no torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError

from luthier.arch import lora_config
from luthier.inference.engines.fused_model import FusedModel
from luthier.inference.engines.stored_tensors import StoredTensors
from luthier.types.errors import BaseModelError, without_path

_PREFIX = "base_model.model.model.layers."


class LoraFactors(NamedTuple):
    """`a` [r, D] and `b` [O, r] of one linear layer in float32, scaling included in `b`."""

    a: np.ndarray
    b: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.a)


# Per fused projection of a layer, the factors of each linear layer in it; None for layers without factors.
LayerFactors = dict[str, list[LoraFactors | None]]


def read_adapter(folder: Path, model: FusedModel) -> list[LayerFactors]:
    """The factors of each layer. Raises BaseModelError."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        stored = StoredTensors([folder / "adapter_model.safetensors"])
        weights = {name: stored.floats(name) for name in stored.shapes}
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(
            f"The adapter cannot be read: adapter_config.json or its weights: {without_path(error, folder)}"
        ) from error
    unsupported = lora_config.unsupported_options(config)
    if unsupported:
        raise BaseModelError(f"The adapter uses {', '.join(unsupported)}, which this engine does not support.")
    unread = set(weights)
    layers = []
    for layer in range(model.depth):
        factors = {
            projection: [_factors(weights, unread, f"{_PREFIX}{layer}.{name}", config) for name in names]
            for projection, names in model.linears.items()
        }
        _check_shapes(factors, model)
        layers.append(factors)
    if unread:
        raise BaseModelError(
            f"The adapter has weights that this engine does not support, such as {sorted(unread)[0]}. "
            "Start with --engine transformers, which runs every adapter of PEFT."
        )
    return layers


def total_rank(factors: list[LoraFactors | None]) -> int:
    return sum(part.rank for part in factors if part)


def _check_shapes(factors: LayerFactors, model: FusedModel) -> None:
    for projection, parts in factors.items():
        for part, outputs in zip(parts, model.sizes[projection], strict=True):
            inputs = model.shapes[projection][0]
            if part and (part.a.shape[1], *part.b.shape) != (inputs, outputs, part.rank):
                raise BaseModelError(
                    f"The adapter is broken or made for another base model: its {projection} differ in size."
                )


def _factors(
    weights: Mapping[str, np.ndarray], unread: set[str], name: str, config: Mapping[str, Any]
) -> LoraFactors | None:
    keys = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
    if keys[0] not in weights:
        return None
    unread.difference_update(keys)
    a, b = weights[keys[0]], weights[keys[1]]
    return LoraFactors(a, b * np.float32(lora_config.scale(config, name, len(a))))
