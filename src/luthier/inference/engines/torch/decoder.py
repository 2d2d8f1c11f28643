"""Attention-only decoders in PyTorch with fused projections; computes what transformers computes from the same weights.

Every twist that the description of a decoder names is one small computation, here or in the files beside.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec, Feature
from luthier.arch.projections import linear_names, norm_names
from luthier.arch.rotary_angles import RotaryAngles
from luthier.inference.engines.fused_model import FusedModel, load_decoder
from luthier.inference.engines.torch import BACKEND
from luthier.inference.engines.torch.attention import Attention
from luthier.inference.engines.torch.mlp import GatedMlp, LoraDelta
from luthier.inference.engines.torch.norms import norm_of, query_key_norm
from luthier.inference.engines.torch.packed_linear import PackedLinear
from luthier.inference.engines.torch.rotary import Rotation, rotations


class Decoder(FusedModel):
    def __init__(self, base: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, device)
        body = model.to(device).model
        self._layers = [DecoderLayer(layer, index, spec) for index, layer in enumerate(body.layers)]
        self._embeddings = body.embed_tokens.weight
        # Rounded to the dtype before it multiplies, as transformers does.
        self._embedding_multiplier = torch.tensor(spec.embedding_multiplier, dtype=dtype, device=device)
        self._norm = norm_of(body, "norm", spec)
        self._lm_head = PackedLinear(model.lm_head.weight)
        self._angles = RotaryAngles(body.rotary_emb, spec, dtype)

    def hidden(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attention, lora: LoraDelta) -> torch.Tensor:
        """ids and positions int [T] -> the last hidden states [T, D], normalized."""
        x = functional.embedding(ids, self._embeddings)
        if self.spec.embedding_multiplier != 1:
            x = x * self._embedding_multiplier
        for layer, rotation in zip(self._layers, rotations(self._angles.at(positions), self.spec), strict=True):
            x = layer(x, rotation, attend, lora)
        return self._norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[T, D] -> [T, V]."""
        logits, cap = self._lm_head(hidden), self.spec.logit_softcap
        if self.spec.logit_scale != 1:
            logits = logits * self.spec.logit_scale
        return logits if cap is None else torch.tanh(logits / cap) * cap


class DecoderLayer:
    def __init__(self, layer: Any, index: int, spec: DecoderSpec) -> None:
        """`layer`: of transformers, whose weights are freed."""
        self._index, self._spec = index, spec
        norms = [norm_of(layer, name, spec) for name in norm_names(spec)]
        self._before_attention, self._after_attention, self._before_mlp, self._after_mlp = norms
        self._query_key_norm = query_key_norm(layer.self_attn, spec)
        names = linear_names(spec)
        self._qkv, self._out = _fuse(layer, names["qkv"]), _fuse(layer, names["out"])
        self._mlp = GatedMlp(_fuse(layer, names["gate_up"]), _fuse(layer, names["down"]), spec)
        self._parallel = Feature.PARALLEL_BLOCK in spec.features

    def __call__(self, x: torch.Tensor, rotation: Rotation | None, attend: Attention, lora: LoraDelta) -> torch.Tensor:
        """[T, D] -> [T, D]."""
        multiplier = self._spec.residual_multiplier
        normed = self._before_attention(x)
        attended = self._attention(normed, rotation, attend, lora)
        if self._parallel:
            return x + attended + self._mlp(normed, self._index, lora)
        x = torch.add(x, self._after_attention(attended), alpha=multiplier)
        out = self._mlp(self._before_mlp(x), self._index, lora)
        return torch.add(x, self._after_mlp(out), alpha=multiplier)

    def _attention(
        self, x: torch.Tensor, rotation: Rotation | None, attend: Attention, lora: LoraDelta
    ) -> torch.Tensor:
        spec = self._spec
        rotated_heads = spec.heads + spec.kv_heads
        qkv = self._qkv(x, lora.share(x, self._index, "qkv")).view(len(x), -1, spec.head_dim)
        qk, v = qkv[:, :rotated_heads], qkv[:, rotated_heads:]
        if self._query_key_norm:
            qk = self._query_key_norm(qk)
        if rotation:
            qk = rotation(qk)
        mixed = attend(self._index, qk[:, : spec.heads], qk[:, spec.heads :], v)
        return self._out(mixed, lora.share(mixed, self._index, "out"))


def _fuse(layer: Any, names: tuple[str, ...]) -> PackedLinear:
    """One linear layer for several, whose own weights are freed."""
    linears = [layer.get_submodule(name) for name in names]
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = None if linears[0].bias is None else torch.cat([linear.bias.data for linear in linears])
    for linear in linears:
        linear.weight.data = weight.new_empty(0)
    return PackedLinear(weight, bias)
