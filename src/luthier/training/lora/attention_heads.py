"""The attention of a fused layer, between its projections: QK-norm, rotary embeddings, attention; one backward pass."""

from typing import Any

import torch

from luthier.arch import DecoderSpec, Feature
from luthier.arch.rotary_angles import Angles
from luthier.training.kernels import attention, elementwise
from luthier.training.kernels.score_rule import ScoreRule
from luthier.training.lora.layer_functions import FrozenNorm
from luthier.training.packing.packed_layout import Layout


class AttentionHeads:
    """H query heads of width K and G key/value heads of one layer."""

    def __init__(self, module: Any, index: int, spec: DecoderSpec, *, is_frozen: bool = True) -> None:
        """`module`: the attention of layer `index` in transformers; without `is_frozen`, QK-norm is done elsewhere."""
        self._count, self._kv_heads, self._width = spec.heads, spec.kv_heads, spec.head_dim
        self.rule = ScoreRule(spec.attention_scale, spec.windows[index], spec.attention_softcap)
        self._per_head = Feature.QK_NORM in spec.features
        normed = self._per_head or Feature.QK_NORM_ALL_HEADS in spec.features
        norms = (module.q_norm, module.k_norm) if normed and is_frozen else ()
        self._norms = [FrozenNorm(norm, spec) for norm in norms]

    def split(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[T, H + 2 G, K] -> queries, keys, values."""
        q, k, v = qkv.split_with_sizes([self._count, self._kv_heads, self._kv_heads], 1)
        return q, k, v

    def by_head(self, qkv: torch.Tensor) -> torch.Tensor:
        """[T, (H + 2 G) K] -> [T, H + 2 G, K]."""
        return qkv.view(len(qkv), -1, self._width)

    def normalize(self, qkv: torch.Tensor) -> list[torch.Tensor]:
        """Normalize queries and keys of [T, H + 2 G, K] in place; returns the tensors for `normalize_backward`."""
        saved = []
        for norm, heads in zip(self._norms, self.split(qkv), strict=False):
            raw = self._rows(heads).clone()
            normed, inverse_rms = norm.forward(raw)
            heads.copy_(normed.view(heads.shape))
            saved += [raw, inverse_rms]
        return saved

    def normalize_backward(self, grad: torch.Tensor, saved: list[torch.Tensor]) -> None:
        """Turns the gradients of normalized queries and keys into those of the raw ones, in place."""
        pairs = zip(saved[::2], saved[1::2], strict=True)
        for norm, heads, (raw, inverse_rms) in zip(self._norms, self.split(grad), pairs, strict=False):
            heads.copy_(norm.backward(self._rows(heads), raw, inverse_rms).view(heads.shape))

    def rotate(self, qkv: torch.Tensor, angles: Angles | None, *, inverse: bool = False) -> None:
        """Rotates queries and keys of [T, H + 2 G, K] in place."""
        if angles is not None:
            rotated = qkv[:, : -self._kv_heads, : 2 * angles.cos.shape[-1]]
            elementwise.apply_rotary(rotated, angles.cos, angles.sin, inverse=inverse)

    def _rows(self, heads: torch.Tensor) -> torch.Tensor:
        """[T, H, K] -> the rows that are normalized, [T H, K] or [T, H K]."""
        return heads.reshape(-1, self._width) if self._per_head else heads.flatten(1)


def attend(qkv: torch.Tensor, heads: AttentionHeads, angles: Angles | None, layout: Layout) -> torch.Tensor:
    """qkv [T, (H + 2 G) K], which is overwritten -> [T, H K]."""
    return _Attend.apply(qkv, heads, angles, layout)  # type: ignore[no-any-return, no-untyped-call]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: torch.Tensor, heads: AttentionHeads, angles: Angles | None, layout: Layout
    ) -> torch.Tensor:
        rows = heads.by_head(qkv.detach())
        normalized = heads.normalize(rows)
        heads.rotate(rows, angles)
        out, logsumexp = attention.forward(*heads.split(rows), layout, heads.rule)
        ctx.save_for_backward(rows, out, logsumexp, *normalized)
        ctx.arguments = heads, angles, layout
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        heads, angles, layout = ctx.arguments
        rows, out, logsumexp, *normalized = ctx.saved_tensors
        q, k, v = heads.split(rows)
        qkv_grad = attention.backward(grad.view(out.shape), q, k, v, out, logsumexp, layout, heads.rule)
        heads.rotate(qkv_grad, angles, inverse=True)
        heads.normalize_backward(qkv_grad, normalized)
        return qkv_grad.flatten(1), None, None, None
