"""The gated MLP of a decoder layer."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec, Feature
from luthier.inference.engines.torch.packed_linear import PackedLinear


class LoraDelta(Protocol):
    """The adapters' output for a fused projection."""

    def share(self, x: torch.Tensor, layer: int, projection: str) -> torch.Tensor | None:
        """x [T, D] -> [T, O]; None where no token has an adapter."""
        ...


# [T, 2 I] -> [T, I]: the activation of the first half times the second.
Gate = Callable[[torch.Tensor], torch.Tensor]


def gate_of(spec: DecoderSpec) -> Gate:
    if Feature.GELU_TANH in spec.features:
        return partial(_gated, activation=partial(functional.gelu, approximate="tanh"))
    return partial(_gated, activation=functional.gelu if Feature.GELU in spec.features else functional.silu)


def _gated(gate_up: torch.Tensor, activation: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    gate, up = gate_up.chunk(2, -1)
    return activation(gate).mul_(up)


class GatedMlp:
    """Shazeer, 2020."""

    def __init__(self, gate_up: PackedLinear, down: PackedLinear, spec: DecoderSpec) -> None:
        self._gate_up, self._down, self._gate = gate_up, down, gate_of(spec)

    def __call__(self, x: torch.Tensor, layer: int, lora: LoraDelta) -> torch.Tensor:
        """[T, D] -> [T, D]."""
        gated = self._gate(self._gate_up(x, lora.share(x, layer, "gate_up")))
        return self._down(gated, lora.share(gated, layer, "down"))
