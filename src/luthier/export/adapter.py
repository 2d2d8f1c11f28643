"""The LoRA factors of a PEFT folder, and their contribution to the weights of the base. Safetensors only."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from luthier.arch import lora_config
from luthier.language import say
from luthier.types.errors import ExportError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


class Adapter:
    """The LoRA factors A [r, D] and B [O, r] of each adapted linear layer, keyed by the layer's name in the base.

    `config` is the parsed adapter_config.json.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the adapter in `folder`.

        Raises:
            ExportError: The adapter cannot be read, has no effect, or contains more than LoRA factors.
        """
        try:
            self.config: Mapping[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise ExportError(
                say(f"{folder.name}: the adapter cannot be read: {error}", f"{folder.name}：无法读取适配器：{error}")
            ) from error
        unsupported = lora_config.unsupported_options(self.config)
        self._factors = _factors(tensors)
        other_tensors = sorted(tensors.keys() - {_PREFIX + name + end for name in self._factors for end in (_A, _B)})
        if unsupported or other_tensors:
            offending_names = ", ".join([*unsupported, *other_tensors[:3]])
            raise ExportError(
                say(f"{folder.name}: the adapter contains more than LoRA factors of linear layers: {offending_names}.",
                    f"{folder.name}：适配器除线性层的 LoRA 因子外还有：{offending_names}。"))  # fmt: skip
        _check_values(self._factors, folder)

    def __iter__(self) -> Iterator[str]:
        """The names of the layers, sorted."""
        return iter(sorted(self._factors))

    def __contains__(self, layer: str) -> bool:
        return layer in self._factors

    def scaled(self, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The factors A and B of `layer` in float32; B is multiplied by the adapter's scale."""
        a, b = self._factors[layer]
        return a, b * lora_config.scale(self.config, layer, len(a))

    def change(self, layer: str) -> torch.Tensor:
        """The change that the adapter adds to the weight of `layer`: scale * B @ A, float32 [O, D]."""
        a, b = self.scaled(layer)
        return b @ a

    def shape(self, layer: str) -> tuple[int, int]:
        """The shape (O, D) of the weight of `layer`: outputs, inputs."""
        a, b = self._factors[layer]
        return b.shape[0], a.shape[1]


def _factors(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    names = [name.removeprefix(_PREFIX).removesuffix(_A) for name in tensors if name.endswith(_A)]
    return {
        name: (tensors[_PREFIX + name + _A].float(), tensors[_PREFIX + name + _B].float())
        for name in names
        if _PREFIX + name + _A in tensors and _PREFIX + name + _B in tensors
    }


def _check_values(factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]], folder: Path) -> None:
    for name, pair in factors.items():
        if not all(bool(torch.isfinite(factor).all()) for factor in pair):
            raise ExportError(
                say(f"{folder.name}: {name} contains values that are not numbers; the adapter is damaged.",
                    f"{folder.name}：{name} 含有非数值，适配器已损坏。"))  # fmt: skip
    if not any(bool(b.any()) for _, b in factors.values()):
        raise ExportError(
            say(f"{folder.name}: the adapter is empty: it does not change its base.",
                f"{folder.name}：适配器为空，对基座没有任何改变。"))  # fmt: skip
