"""The layers of `fused_decoder` for full fine-tuning, where every weight has a gradient.

Weights are float32 and are rounded for each product, as autocast does. Projections of the same input are one matrix
product; norms, gates and attention save only what their gradients need.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from luthier.arch import DecoderSpec, Feature, Unsupported
from luthier.arch.projections import linear_names, norm_names
from luthier.arch.rotary_angles import Angles
from luthier.training.kernels import elementwise
from luthier.training.kernels.elementwise import Activation
from luthier.training.lora.attention_heads import AttentionHeads, attend
from luthier.training.lora.fused_decoder import BACKEND, FusedDecoder, activation_of
from luthier.training.packing.packed_layout import Layout

_log = logging.getLogger(__name__)


def write_out(model: Any, dtype: torch.dtype) -> FusedDecoder | None:
    """The fused path of a causal language model; None, with the reason in the log, if it is not supported.

    `dtype`: of matrix products and attention; the residual stream is float32.
    """
    spec = DecoderSpec.from_config(model.config)
    reason = BACKEND.refusal(spec)
    if reason or isinstance(spec, Unsupported):
        _log.warning("all weights are trained through transformers, which is slower: %s", reason)
        return None
    layers = [_Layer(layer, index, spec, dtype) for index, layer in enumerate(model.model.layers)]
    return FusedDecoder(model.model, spec, layers, torch.float32)


class _Norm:
    """RMSNorm over rows of `width` elements."""

    def __init__(self, module: Any, spec: DecoderSpec) -> None:
        self._module, self._eps = module, spec.norm_eps
        self._offset = float(Feature.OFFSET_NORM in spec.features)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., D], where D is the width of the norm."""
        rows = x.reshape(-1, len(self._module.weight)).contiguous()  # kernels expect contiguous rows
        weight = self._module.weight + self._offset
        return _RmsNorm.apply(rows, weight, self._eps).view(x.shape)  # type: ignore[no-any-return, no-untyped-call]


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        normed = torch.empty_like(x)
        inverse_rms = elementwise.rms_norm(x, weight, eps, normed)
        ctx.save_for_backward(x, weight, inverse_rms)
        return normed

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, inverse_rms = ctx.saved_tensors
        weight_grad = (grad.float() * (x * inverse_rms)).sum(0)
        return elementwise.rms_norm_backward(grad.contiguous(), x, weight, inverse_rms), weight_grad, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: torch.Tensor, activation: Activation) -> torch.Tensor:
        ctx.save_for_backward(gate_up)
        ctx.activation = activation
        return elementwise.gated(gate_up, activation)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gate_up,) = ctx.saved_tensors
        return elementwise.gated_backward(grad, gate_up, ctx.activation)[0], None


class _Linear:
    """Linear layers with the same input as one matrix product."""

    def __init__(self, layers: Sequence[torch.nn.Linear], dtype: torch.dtype) -> None:
        self._layers, self._dtype = layers, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[T, D] -> [T, O]: all outputs, in the dtype of products."""
        weight = torch.cat([layer.weight.to(self._dtype) for layer in self._layers])
        biases = [layer.bias.to(self._dtype) for layer in self._layers if layer.bias is not None]
        return functional.linear(x.to(self._dtype), weight, torch.cat(biases) if biases else None)


class _Layer:
    """T tokens of width D in and out."""

    def __init__(self, layer: Any, index: int, spec: DecoderSpec, dtype: torch.dtype) -> None:
        self._norms = [None if name is None else _Norm(getattr(layer, name), spec) for name in norm_names(spec)]
        paths = linear_names(spec).values()
        linears = [_Linear([layer.get_submodule(path) for path in joined], dtype) for joined in paths]
        self._qkv, self._out, self._gate_up, self._down = linears
        self._heads = AttentionHeads(layer.self_attn, index, spec, is_frozen=False)
        is_normed = not {Feature.QK_NORM, Feature.QK_NORM_ALL_HEADS}.isdisjoint(spec.features)
        modules = (layer.self_attn.q_norm, layer.self_attn.k_norm) if is_normed else ()
        self._query_key_norms = [_Norm(module, spec) for module in modules]
        self._widths = [spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.kv_heads * spec.head_dim]
        self._multiplier, self._activation = spec.residual_multiplier, activation_of(spec)

    def __call__(self, x: torch.Tensor, angles: Angles | None, layout: Layout) -> torch.Tensor:
        before_attention, after_attention, before_mlp, after_mlp = self._norms
        qkv = self._normalized(self._qkv(_normed(x, before_attention)))
        x = self._added(x, self._out(attend(qkv, self._heads, angles, layout)), after_attention)
        gated = _Gated.apply(self._gate_up(_normed(x, before_mlp)), self._activation)  # type: ignore[no-untyped-call]
        return self._added(x, self._down(gated), after_mlp)

    def _normalized(self, qkv: torch.Tensor) -> torch.Tensor:
        if not self._query_key_norms:
            return qkv
        parts = qkv.split_with_sizes(self._widths, 1)
        normed = [norm(part) for norm, part in zip(self._query_key_norms, parts, strict=False)]
        return torch.cat([*normed, parts[2]], 1)

    def _added(self, x: torch.Tensor, out: torch.Tensor, norm: _Norm | None) -> torch.Tensor:
        return torch.add(x, _normed(out, norm), alpha=self._multiplier)


def _normed(x: torch.Tensor, norm: _Norm | None) -> torch.Tensor:
    return x if norm is None else norm(x)
