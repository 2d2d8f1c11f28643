"""The norms of a decoder, computed in float32 and rounded once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from luthier.arch import DecoderSpec, Feature

# x [..., D] -> [..., D]
Norm = Callable[[torch.Tensor], torch.Tensor]


def norm_of(layer: Any, name: str | None, spec: DecoderSpec) -> Norm:
    """The norm `name` of a module of transformers; the identity for None."""
    if name is None:
        return _identity
    return _norm(layer.get_submodule(name).weight, spec)


def query_key_norm(attention: Any, spec: DecoderSpec) -> Norm | None:
    """[T, H + G, K] -> [T, H + G, K], where queries and keys are normalized: the query heads come first."""
    if Feature.QK_NORM in spec.features:
        weights = attention.q_norm.weight, attention.k_norm.weight
        heads = [
            weight.expand(count, spec.head_dim)
            for weight, count in zip(weights, (spec.heads, spec.kv_heads), strict=True)
        ]
        return _norm(torch.cat(heads), spec)
    if Feature.QK_NORM_ALL_HEADS in spec.features:
        norms = _norm(attention.q_norm.weight, spec), _norm(attention.k_norm.weight, spec)
        return partial(_over_all_heads, norms=norms, heads=spec.heads)
    return None


def _norm(weight: torch.Tensor, spec: DecoderSpec) -> Norm:
    """`weight` may have one row for each head."""
    weight = weight.float()
    if Feature.OFFSET_NORM in spec.features:
        weight = weight + 1
    return partial(_layer_norm if Feature.LAYER_NORM in spec.features else _rms_norm, weight=weight, eps=spec.norm_eps)


def _rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def _layer_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    wide = x.float()
    return _rms_norm(wide - wide.mean(-1, keepdim=True), weight, eps).to(x.dtype)


def _over_all_heads(x: torch.Tensor, norms: tuple[Norm, Norm], heads: int) -> torch.Tensor:
    parts = zip(norms, (x[:, :heads], x[:, heads:]), strict=True)
    return torch.cat([norm(part.flatten(1)).view(part.shape) for norm, part in parts], 1)


def _identity(x: torch.Tensor) -> torch.Tensor:
    return x
