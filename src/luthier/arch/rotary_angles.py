"""The angles of rotary position embeddings, for each kind of layer, as transformers computes them."""

from typing import Any, NamedTuple

import torch

from luthier.arch.decoder import DecoderSpec
from luthier.arch.features import Feature


class Angles(NamedTuple):
    """`cos` and `sin` [T, 1, R / 2], where R elements of a head are rotated, the first ones."""

    cos: torch.Tensor
    sin: torch.Tensor


class RotaryAngles:
    def __init__(self, rotary: Any, spec: DecoderSpec, dtype: torch.dtype) -> None:
        """`rotary`: the rotary module of the model."""
        self._rotary, self._dtype = rotary, dtype
        self._interleaved = Feature.INTERLEAVED_ROTARY in spec.features
        per_type = hasattr(rotary, "layer_types")
        types = [("sliding_attention" if window else "full_attention") if per_type else "" for window in spec.windows]
        self._types = [name if rotated else None for name, rotated in zip(types, spec.rope_layers, strict=True)]

    def at(self, positions: torch.Tensor) -> list[Angles | None]:
        """The angles of each layer at positions int [T]; None for layers that rotate nothing."""
        angles = {name: self._angles(positions, name) for name in self._types if name is not None}
        return [None if name is None else angles[name] for name in self._types]

    def _angles(self, positions: torch.Tensor, layer_type: str) -> Angles:
        like = torch.empty(0, dtype=self._dtype, device=positions.device)
        cos, sin = self._rotary(like, positions[None], *([layer_type] if layer_type else []))
        # Each angle stands twice.
        half = slice(None, None, 2) if self._interleaved else slice(cos.shape[-1] // 2)
        return Angles(cos[0, :, None, half].contiguous(), sin[0, :, None, half].contiguous())
