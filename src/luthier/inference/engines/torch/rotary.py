"""Rotary position embeddings (Su et al., 2021): the angles of each kind of layer, and the rotation."""

from typing import Any, NamedTuple

import torch

from luthier.arch import DecoderSpec, Feature


class Rotation(NamedTuple):
    """`cos` and `sin` [T, 1, R / 2]; R: how many elements of a head are rotated, the first ones.

    `interleaved`: element 2 i is rotated with 2 i + 1, and not i with i + R / 2.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    interleaved: bool

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """[T, H, K] -> [T, H, K]."""
        width = 2 * self.cos.shape[-1]
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        out[..., width:] = x[..., width:]
        (x1, x2), (out1, out2) = self._halves(x[..., :width]), self._halves(out[..., :width])
        torch.mul(x1, self.cos, out=out1).addcmul_(x2, self.sin, value=-1)
        torch.mul(x2, self.cos, out=out2).addcmul_(x1, self.sin)
        return out

    def _halves(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (x[..., ::2], x[..., 1::2]) if self.interleaved else x.tensor_split(2, -1)  # type: ignore[return-value]


class RotaryAngles:
    """The angles of each kind of layer, as transformers' own module computes them."""

    def __init__(self, rotary: Any, spec: DecoderSpec, dtype: torch.dtype) -> None:
        """`rotary`: the rotary module of the model."""
        self._rotary, self._dtype = rotary, dtype
        self._interleaved = Feature.INTERLEAVED_ROTARY in spec.features
        per_type = hasattr(rotary, "layer_types")
        types = [("sliding_attention" if window else "full_attention") if per_type else "" for window in spec.windows]
        self._types = [name if rotated else None for name, rotated in zip(types, spec.rope_layers, strict=True)]

    def at(self, positions: torch.Tensor) -> list[Rotation | None]:
        """The rotation of each layer at positions int [T]; None for layers that rotate nothing."""
        rotations = {name: self._rotation(positions, name) for name in set(self._types) - {None}}
        return [rotations.get(name) for name in self._types]

    def _rotation(self, positions: torch.Tensor, layer_type: str | None) -> Rotation:
        like = torch.empty(0, dtype=self._dtype, device=positions.device)
        angles = self._rotary(like, positions[None], *([layer_type] if layer_type else []))
        # Each angle stands twice.
        half = slice(None, None, 2) if self._interleaved else slice(angles[0].shape[-1] // 2)
        cos, sin = (part[0, :, None, half].contiguous() for part in angles)
        return Rotation(cos, sin, self._interleaved)
