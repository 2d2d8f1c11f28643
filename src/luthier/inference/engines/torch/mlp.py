"""The MLP of a decoder layer: gated, or a mixture of gated experts."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec, Feature
from luthier.inference.engines.torch.packed_linear import PackedLinear


class LoraDelta(Protocol):
    """The adapters' share of a fused projection."""

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


class Experts:
    """A token's output is that of its likeliest experts, weighted by the router; experts have no adapters."""

    def __init__(self, block: Any, spec: DecoderSpec) -> None:
        """`block`: a sparse block of transformers; its weights are freed."""
        self._router = PackedLinear(block.gate.weight)
        self._gate = gate_of(spec)
        self._per_token = spec.experts_per_token
        self._normalized = Feature.NORMALIZED_ROUTING in spec.features
        weights = block.experts.gate_up_proj.data, block.experts.down_proj.data
        self._experts = [(PackedLinear(gate_up), PackedLinear(down)) for gate_up, down in zip(*weights, strict=True)]
        if self._experts[0][0].packed:
            for parameter in (block.experts.gate_up_proj, block.experts.down_proj):
                parameter.data = parameter.new_empty(0)

    def __call__(self, x: torch.Tensor, layer: int, lora: LoraDelta) -> torch.Tensor:
        """[T, D] -> [T, D]; a token's experts are summed in their order, whatever else is in the batch."""
        weights, chosen = torch.softmax(self._router(x).float(), -1).topk(self._per_token)  # [T, experts per token]
        if self._normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for index in sorted(set(chosen.flatten().tolist())):
            gate_up, down = self._experts[index]
            tokens, ranks = (chosen == index).nonzero(as_tuple=True)
            outputs = down(self._gate(gate_up(x[tokens])))
            out.index_add_(0, tokens, outputs * weights[tokens, ranks, None])
        return out.to(x.dtype)
