"""Llama-like decoders in PyTorch with fused projections; computes what transformers computes from the same weights."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch.nn import functional

from luthier.arch.projections import PROJECTIONS
from luthier.inference.engines.fused_model import FusedModel, load_decoder
from luthier.inference.engines.torch import BACKEND
from luthier.inference.engines.torch.attention import Attention
from luthier.inference.engines.torch.packed_linear import PackedLinear


class LoraDelta(Protocol):
    """The adapters' share of a fused projection."""

    def share(self, x: torch.Tensor, layer: int, projection: str) -> torch.Tensor | None:
        """x [T, D] -> [T, O]; None where no token has an adapter."""
        ...


class Layer(NamedTuple):
    """Norm weights [D] and fused projections."""

    input_norm: torch.Tensor
    qkv: PackedLinear
    out: PackedLinear
    mlp_norm: torch.Tensor
    gate_up: PackedLinear
    down: PackedLinear


class Llama(FusedModel):
    def __init__(self, base: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, device)
        body = model.to(device).model
        self._epsilon = spec.norm_eps
        self._layers = [_fused_layer(layer) for layer in body.layers]
        self._embeddings = body.embed_tokens.weight
        self._norm = body.norm.weight
        self._lm_head = PackedLinear(model.lm_head.weight)
        positions = torch.arange(self.context_tokens, device=device)[None]
        cos, sin = body.rotary_emb(torch.zeros(1, dtype=dtype, device=device), positions)
        half = spec.head_dim // 2  # the second half repeats the first
        self._cos, self._sin = cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()  # [context, K / 2]

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attention, lora: LoraDelta) -> torch.Tensor:
        """ids and positions int [T] -> the last hidden states [T, D], normalized."""
        spec = self.spec
        x = functional.embedding(ids, self._embeddings)
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        rotated_heads = spec.heads + spec.kv_heads
        for index, layer in enumerate(self._layers):
            normed = functional.rms_norm(x, (x.shape[-1],), layer.input_norm, self._epsilon)
            qkv = layer.qkv(normed, lora.share(normed, index, "qkv")).view(len(x), -1, spec.head_dim)
            qk = _rotate(qkv[:, :rotated_heads], cos, sin)
            mixed = attend(index, qk[:, : spec.heads], qk[:, spec.heads :], qkv[:, rotated_heads:])
            x = x + layer.out(mixed, lora.share(mixed, index, "out"))
            normed = functional.rms_norm(x, (x.shape[-1],), layer.mlp_norm, self._epsilon)
            gate, up = layer.gate_up(normed, lora.share(normed, index, "gate_up")).chunk(2, -1)
            gated = functional.silu(gate).mul_(up)
            x = x + layer.down(gated, lora.share(gated, index, "down"))
        return functional.rms_norm(x, (x.shape[-1],), self._norm, self._epsilon)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, D] -> [T, V]."""
        return self._lm_head(hidden)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [T, H, K], cos and sin [T, 1, K / 2]. Su et al., 2021."""
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (x1, x2), (out1, out2) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(x1, cos, out=out1).addcmul_(x2, sin, value=-1)
    torch.mul(x2, cos, out=out2).addcmul_(x1, sin)
    return out


def _fused_layer(layer: Any) -> Layer:
    fused = {name: _fuse([layer.get_submodule(path) for path in paths]) for name, paths in PROJECTIONS.items()}
    return Layer(
        layer.input_layernorm.weight,
        fused["qkv"],
        fused["out"],
        layer.post_attention_layernorm.weight,
        fused["gate_up"],
        fused["down"],
    )


def _fuse(linears: list[Any]) -> PackedLinear:
    """One layer for several, whose own weights are freed."""
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = None if linears[0].bias is None else torch.cat([linear.bias.data for linear in linears])
    for linear in linears:
        linear.weight.data = weight.new_empty(0)
    return PackedLinear(weight, bias)
