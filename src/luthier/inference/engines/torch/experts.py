"""Mixture of experts: a router chooses a few gated MLPs for each token. Shazeer et al., 2017."""

from functools import partial
from typing import Any

import torch

from luthier.arch import DecoderSpec, Feature
from luthier.arch.experts import Experts, GateClamp
from luthier.arch.projections import expert_names, linear_names
from luthier.inference.engines.torch.mlp import GatedMlp, LoraDelta, gate_of
from luthier.inference.engines.torch.packed_linear import PackedLinear, fuse


class MixtureOfExperts:
    """Adapters do not change experts or routers, except an expert that all tokens share beside the mixture.

    The rounding of a token does not depend on the experts of the other tokens in a pass: the experts' outputs for a
    token are summed in float32 in the order of the token's own ranking.
    """

    def __init__(self, layer: Any, shape: Experts, spec: DecoderSpec) -> None:
        """`layer`: of transformers, whose weights are freed."""
        router, experts = (layer.get_submodule(name) for name in expert_names(spec))
        self._router = PackedLinear(router.weight.data, getattr(router, "bias", None))
        self._gate_up, self._down = _linears(experts, "gate_up_proj"), _linears(experts, "down_proj")
        self._gate = gate_of(spec) if shape.clamp is None else partial(_clamped, clamp=shape.clamp)
        self._per_token, self._normalized = shape.per_token, Feature.NORMALIZED_ROUTING in spec.features
        self._shared = _gated_mlp(layer, spec) if Feature.SHARED_EXPERT in spec.features else None

    def __call__(self, x: torch.Tensor, layer: int, lora: LoraDelta) -> torch.Tensor:
        """[T, D] -> [T, D]."""
        weights, chosen = self._route(x)
        order = chosen.flatten().argsort(stable=True)  # expert by expert
        counts = chosen.flatten().bincount(minlength=len(self._down)).tolist()
        rows = x[order // self._per_token].split_with_sizes(counts)
        shares = x.new_empty(len(order), x.shape[1], dtype=torch.float32)
        shares[order] = torch.cat([self._expert(index, part) for index, part in enumerate(rows) if len(part)]).float()
        mixed = (shares.view(len(x), self._per_token, -1) * weights[..., None]).sum(1).to(x.dtype)
        return mixed if self._shared is None else mixed + self._shared(x, layer, lora)

    def _route(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(weights float32 [T, k], experts int [T, k]) of each token."""
        logits = self._router(x).float()
        top, chosen = logits.topk(self._per_token, dim=-1)
        normalizer = (top if self._normalized else logits).logsumexp(-1, keepdim=True)
        return (top - normalizer).exp_(), chosen

    def _expert(self, index: int, rows: torch.Tensor) -> torch.Tensor:
        return self._down[index](self._gate(self._gate_up[index](rows)))


def mlp_of(layer: Any, index: int, spec: DecoderSpec) -> GatedMlp | MixtureOfExperts:
    """That of layer `index` of transformers, whose weights are freed."""
    if spec.experts is not None and spec.experts.layers[index]:
        return MixtureOfExperts(layer, spec.experts, spec)
    return _gated_mlp(layer, spec)


def _gated_mlp(layer: Any, spec: DecoderSpec) -> GatedMlp:
    names = linear_names(spec)
    return GatedMlp(fuse(layer, names["gate_up"]), fuse(layer, names["down"]), spec)


def _linears(experts: Any, name: str) -> list[PackedLinear]:
    """The layer `name` of each expert; its outputs are the gates, followed by the values that they multiply."""
    parameter, biases = getattr(experts, name), getattr(experts, f"{name}_bias", None)
    weights = parameter.data.transpose(1, 2) if experts.is_transposed else parameter.data
    parameter.data = weights.new_empty(0)
    interleaved = name == "gate_up_proj" and not experts.is_concatenated
    layers = zip(weights, [None] * len(weights) if biases is None else biases.data, strict=True)
    return [PackedLinear(_rows(weight, interleaved), _rows(bias, interleaved)) for weight, bias in layers]


def _rows(weight: Any, interleaved: bool) -> Any:
    """Even rows first, then odd ones, if they are interleaved."""
    if weight is None:
        return None
    return (torch.cat([weight[::2], weight[1::2]]) if interleaved else weight).contiguous()


def _clamped(gate_up: torch.Tensor, clamp: GateClamp) -> torch.Tensor:
    gate, up = gate_up.chunk(2, -1)
    gate, up = gate.clamp(max=clamp.limit), up.clamp(-clamp.limit, clamp.limit)
    return (up + 1) * (gate * torch.sigmoid(gate * clamp.alpha))
