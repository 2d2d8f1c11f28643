"""Attention-only decoders in PyTorch with fused projections; equivalent to transformers with the same weights.

Every feature in the description of a decoder is one small computation, here or in the neighbouring files.
"""

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec, Feature
from luthier.arch.projections import linear_names, norm_names
from luthier.arch.rotary_angles import RotaryAngles
from luthier.inference.engines.model_loading import TorchModel, load_decoder
from luthier.inference.engines.torch import BACKEND
from luthier.inference.engines.torch.attention import Attention
from luthier.inference.engines.torch.experts import mlp_of
from luthier.inference.engines.torch.mlp import LoraDelta
from luthier.inference.engines.torch.norms import norm_of, query_key_norm
from luthier.inference.engines.torch.packed_linear import PackedLinear, fuse
from luthier.inference.engines.torch.rotary import Rotation, rotations


class Decoder(TorchModel):
    def __init__(self, base: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises BaseModelError."""
        spec, model = load_decoder(base, dtype, BACKEND)
        super().__init__(spec, dtype, device)
        body = model.to(device).model
        self._layers = [DecoderLayer(layer, index, spec) for index, layer in enumerate(body.layers)]
        self._embeddings = body.embed_tokens.weight
        # Rounded to the dtype before the multiplication, as in transformers.
        self._embedding_multiplier = torch.tensor(spec.embedding_multiplier, dtype=dtype, device=device)
        self._norm = norm_of(body, "norm", spec)
        self._lm_head = PackedLinear(model.lm_head.weight)
        self._angles = RotaryAngles(body.rotary_emb, spec, dtype)

    def hidden(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        attend: Attention,
        lora: LoraDelta,
        is_long: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """ids and positions int [T] -> the last hidden states [T, D], normalized; `is_long` as for RotaryAngles."""
        x = functional.embedding(ids, self._embeddings)
        if self.spec.embedding_multiplier != 1:
            x = x * self._embedding_multiplier
        angles = self._angles.at(positions, is_long)
        for layer, rotation in zip(self._layers, rotations(angles, self.spec), strict=True):
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
        self._sinks = layer.self_attn.sinks.float() if Feature.ATTENTION_SINKS in spec.features else None
        names = linear_names(spec)
        self._qkv, self._out = fuse(layer, names["qkv"]), fuse(layer, names["out"])
        self._mlp = mlp_of(layer, index, spec)
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
        mixed = attend(self._index, qk[:, : spec.heads], qk[:, spec.heads :], v, self._sinks)
        return self._out(mixed, lora.share(mixed, self._index, "out"))
