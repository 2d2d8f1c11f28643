"""The steps of a fused decoder layer, with hand-written gradients.

Frozen weights have no gradients, and what is cheap to recompute is not saved: normalized inputs and gated activations.
T tokens, D width, O outputs.
"""

from typing import Any

import torch

from luthier.arch import DecoderSpec, Feature
from luthier.training.kernels import elementwise
from luthier.training.kernels.elementwise import Activation
from luthier.training.lora.fused_linear import FusedLinear


class FrozenNorm:
    """RMSNorm with a constant weight float32 [D]."""

    def __init__(self, module: Any, spec: DecoderSpec) -> None:
        offset = Feature.OFFSET_NORM in spec.features
        self._weight, self._eps = module.weight.detach().float() + offset, spec.norm_eps

    def forward(self, x: torch.Tensor, out: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """x [T, D] -> (normalized [T, D], which is `out` if there is one; 1 / RMS float32 [T, 1])."""
        normed = torch.empty_like(x) if out is None else out
        return normed, elementwise.rms_norm(x, self._weight, self._eps, normed)

    def recompute(self, x: torch.Tensor, inverse_rms: torch.Tensor) -> torch.Tensor:
        return elementwise.rms_norm_recompute(x, self._weight, inverse_rms)

    def backward(
        self, grad: torch.Tensor, x: torch.Tensor, inverse_rms: torch.Tensor, residual_grad: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The gradient of x, given that of the output, plus `residual_grad`."""
        return elementwise.rms_norm_backward(grad, x, self._weight, inverse_rms, residual_grad)


def normed_linear(x: torch.Tensor, norm: FrozenNorm | None, linear: FusedLinear) -> tuple[torch.Tensor, torch.Tensor]:
    """x [T, D] -> (linear(norm(x)) [T, O], x). A residual sum must use the returned x, so that its gradient is added
    in the same step."""
    return _NormedLinear.apply(x, norm, linear, *linear.parameters)  # type: ignore[no-any-return, no-untyped-call]


def linear_sum(
    x: torch.Tensor, residual: torch.Tensor | None, linear: FusedLinear, activation: Activation | None = None
) -> torch.Tensor:
    """linear(x) + residual [T, O]; with an activation, x [T, 2 D] is gate and up."""
    return _LinearSum.apply(x, residual, linear, activation, *linear.parameters)  # type: ignore[no-any-return, no-untyped-call]


def normed_sum(x: torch.Tensor, residual: torch.Tensor, norm: FrozenNorm) -> torch.Tensor:
    """norm(x) + residual [T, D]."""
    return _NormedSum.apply(x, residual, norm)  # type: ignore[no-any-return, no-untyped-call]


class _NormedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, norm: FrozenNorm | None, linear: FusedLinear, *_: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        a = linear.load_factors()
        rows, inverse_rms = x, None
        if norm is not None:
            rows, normed = linear.empty_inputs(x)
            inverse_rms = norm.forward(x, normed)[1]
        out, low = linear.forward(rows, a)
        ctx.save_for_backward(x, inverse_rms, low, a)
        ctx.norm, ctx.linear = norm, linear
        return out, x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, x_grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inverse_rms, low, a = ctx.saved_tensors
        normed_grad, low_grad = ctx.linear.input_gradient(grad, a)
        normed = x if ctx.norm is None else ctx.norm.recompute(x, inverse_rms)
        factor_grads = ctx.linear.parameter_gradients(grad, normed, low, low_grad)
        if not ctx.needs_input_grad[0]:
            return None, None, None, *factor_grads
        if ctx.norm is None:
            return normed_grad + x_grad, None, None, *factor_grads
        return ctx.norm.backward(normed_grad, x, inverse_rms, x_grad), None, None, *factor_grads


class _LinearSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        residual: torch.Tensor | None,
        linear: FusedLinear,
        activation: Activation | None,
        *_: torch.Tensor,
    ) -> torch.Tensor:
        a = linear.load_factors()
        rows = x
        if activation is not None:
            rows, gated = linear.empty_inputs(x)
            elementwise.gated(x, activation, gated)
        out, low = linear.forward(rows, a, residual)
        ctx.save_for_backward(x, low, a)
        ctx.linear, ctx.activation = linear, activation
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, low, a = ctx.saved_tensors
        x_grad, low_grad = ctx.linear.input_gradient(grad, a)
        if ctx.activation is not None:
            x_grad, x = elementwise.gated_backward(x_grad, x, ctx.activation)
        factor_grads = ctx.linear.parameter_gradients(grad, x, low, low_grad)
        return x_grad, grad if ctx.needs_input_grad[1] else None, None, None, *factor_grads


class _NormedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor, norm: FrozenNorm) -> torch.Tensor:
        normed, inverse_rms = norm.forward(x)
        ctx.save_for_backward(x, inverse_rms)
        ctx.norm = norm
        return normed.add_(residual)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.norm.backward(grad, *ctx.saved_tensors), grad, None
