"""The rotation of rotary position embeddings. Su et al., 2021."""

from collections.abc import Callable
from functools import partial

import torch

from luthier.arch import DecoderSpec, Feature
from luthier.arch.rotary_angles import Angles

# x [T, H, K] -> [T, H, K]
Rotation = Callable[[torch.Tensor], torch.Tensor]


def rotations(angles: list[Angles | None], spec: DecoderSpec) -> list[Rotation | None]:
    """The rotation of each layer; None for layers without rotation."""
    interleaved = Feature.INTERLEAVED_ROTARY in spec.features
    return [None if layer is None else partial(_rotated, angles=layer, interleaved=interleaved) for layer in angles]


def _rotated(x: torch.Tensor, angles: Angles, interleaved: bool) -> torch.Tensor:
    """`interleaved`: element 2 i is rotated with 2 i + 1, and not i with i + R / 2."""
    width = 2 * angles.cos.shape[-1]
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    out[..., width:] = x[..., width:]
    (x1, x2), (out1, out2) = _halves(x[..., :width], interleaved), _halves(out[..., :width], interleaved)
    torch.mul(x1, angles.cos, out=out1).addcmul_(x2, angles.sin, value=-1)
    torch.mul(x2, angles.cos, out=out2).addcmul_(x1, angles.sin)
    return out


def _halves(x: torch.Tensor, interleaved: bool) -> tuple[torch.Tensor, ...]:
    return (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
