"""The weights of a model with its adapter merged, one tensor at a time: W + scale * B @ A, computed in float32.

The writer rounds each sum once, to the type of the file. If it were rounded to the base's bfloat16 first, changes that
are small relative to their weight would be lost.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open

from luthier.export.adapter import Adapter
from luthier.language import say
from luthier.types.errors import ExportError
from luthier.weights import tensor_shapes

_WEIGHT = ".weight"


class MergedTensor(NamedTuple):
    """A weight: `tensor` is float32 where an adapter was merged, else as in the base; `dtype` is the base's."""

    name: str
    tensor: torch.Tensor
    dtype: torch.dtype


class MergedWeights:
    """The weights of a model folder, with `adapter` merged if it is not None."""

    def __init__(self, folder: Path, adapter: Adapter | None) -> None:
        """Reads the names and shapes. Raises ExportError for an adapter that does not fit the model."""
        self._folder, self._adapter = folder, adapter
        self.shapes = tensor_shapes(folder)  # in the order in which `shard` yields them
        if adapter:
            _check_fit(adapter, self.shapes, folder)

    @property
    def shards(self) -> list[Path]:
        """The safetensors files of the model, sorted by name."""
        return sorted(self._folder.glob("*.safetensors"))

    def shard(self, file: Path) -> Iterator[MergedTensor]:
        """The tensors of one file in the file's order, loaded one at a time."""
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_tensor(name)
                layer, dtype = name.removesuffix(_WEIGHT), tensor.dtype
                if self._adapter and name.endswith(_WEIGHT) and layer in self._adapter:
                    tensor = tensor.float() + self._adapter.change(layer)
                yield MergedTensor(name, tensor, dtype)

    def __iter__(self) -> Iterator[MergedTensor]:
        for file in self.shards:
            yield from self.shard(file)


def _check_fit(adapter: Adapter, shapes: dict[str, list[int]], folder: Path) -> None:
    tied = is_tied(folder)
    for layer in adapter:
        shape = shapes.get(layer + _WEIGHT)
        if layer == "lm_head" and tied:
            raise ExportError(
                say("The adapter trains the output layer, which this base shares with its embeddings: they cannot be "
                    "merged. Export peft.",
                    "适配器训练了输出层，而该基座的输出层与词嵌入共享权重，无法合并。请导出 peft。"))  # fmt: skip
        if shape is None or tuple(shape) != adapter.shape(layer):
            sizes = " x ".join(map(str, adapter.shape(layer)))
            raise ExportError(
                say(f"{folder.name} has no weight {layer} of {sizes}: the adapter belongs to another base model.",
                    f"{folder.name} 没有大小为 {sizes} 的权重 {layer}：该适配器属于另一个基座模型。"))  # fmt: skip


def is_tied(folder: Path) -> bool:
    """Whether the output layer shares its weights with the embeddings.

    Raises:
        OSError, ValueError: The configuration cannot be read.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "tie_word_embeddings" in config:
        return bool(config["tie_word_embeddings"])
    return "lm_head.weight" not in tensor_shapes(folder)
