"""Models of the Llama family, written out for serving: projections that read the same tensor are one product.

Computes what transformers computes with the same weights. Knows nothing about requests, queues or sampling.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn import functional

from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.fused_model import FusedModel, load_decoder
from luthier.inference.engines.torch import BACKEND
from luthier.inference.engines.torch.product import Product

# The attention of one layer: (layer, q [T, H, K], k [T, G, K], v [T, G, K]) -> [T, H K].
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Added(Protocol):
    """What adapters add to a joined projection, in place."""

    def add(self, out: torch.Tensor, x: torch.Tensor, layer: int, group: str) -> torch.Tensor: ...


class Layer(NamedTuple):
    """Weights of norms [D], and the joined projections."""

    norm: torch.Tensor
    qkv: Product
    out: Product
    second_norm: torch.Tensor
    gate_up: Product
    down: Product


class Llama(FusedModel):
    def __init__(self, base: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, device)
        body = model.to(device).model
        self.heads, self.groups, self.width = spec.heads, spec.kv_heads, spec.head_dim
        self._epsilon = spec.norm_eps
        self.layers = [_layer(layer) for layer in body.layers]
        self._embeddings = body.embed_tokens.weight
        self._norm = body.norm.weight
        self._output = Product(model.lm_head.weight)
        positions = torch.arange(self.context_tokens, device=device)[None]
        cos, sin = body.rotary_emb(torch.zeros(1, dtype=dtype, device=device), positions)
        half = self.width // 2  # the second half of each angle is the first once more
        self._cos, self._sin = cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()  # [context, K / 2]

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, added: Added) -> torch.Tensor:
        """ids and positions int [T] -> the last hidden states [T, D], normalised."""
        x = functional.embedding(ids, self._embeddings)
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        rotated = self.heads + self.groups
        for index, layer in enumerate(self.layers):
            normed = functional.rms_norm(x, (x.shape[-1],), layer.norm, self._epsilon)
            qkv = added.add(layer.qkv(normed), normed, index, "qkv")
            split = qkv.view(len(x), -1, self.width)
            turned = _rotate(split[:, :rotated], cos, sin)
            mixed = attend(index, turned[:, : self.heads], turned[:, self.heads :], split[:, rotated:])
            x = x + added.add(layer.out(mixed), mixed, index, "out")
            normed = functional.rms_norm(x, (x.shape[-1],), layer.second_norm, self._epsilon)
            gate, up = added.add(layer.gate_up(normed), normed, index, "gate_up").chunk(2, -1)
            active = functional.silu(gate).mul_(up)
            x = x + added.add(layer.down(active), active, index, "down")
        return functional.rms_norm(x, (x.shape[-1],), self._norm, self._epsilon)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, D] -> [T, V]."""
        return self._output(hidden)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [T, H, K], cos and sin [T, 1, K / 2]. Su et al., 2021."""
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (one, two), (first, second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(one, cos, out=first).addcmul_(two, sin, value=-1)
    torch.mul(two, cos, out=second).addcmul_(one, sin)
    return out


def _layer(layer: Any) -> Layer:
    joined = {group: _join([layer.get_submodule(name) for name in names]) for group, names in PROJECTIONS.items()}
    return Layer(
        layer.input_layernorm.weight,
        joined["qkv"],
        joined["out"],
        layer.post_attention_layernorm.weight,
        joined["gate_up"],
        joined["down"],
    )


def _join(linears: list[Any]) -> Product:
    """One product for several layers, which lose their weights, so that nothing is kept twice."""
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = None if linears[0].bias is None else torch.cat([linear.bias.data for linear in linears])
    for linear in linears:
        linear.weight.data = weight.new_empty(0)
    return Product(weight, bias)
