"""The elementwise parts of a decoder layer, forward and backward: RMSNorm, gates, rotary embeddings, log softmax.

They are bound by memory bandwidth: the compiled kernels go through memory once; PyTorch processes some rows at a time,
which stay in the CPU's cache from one operation to the next.
"""

from collections.abc import Iterator
from enum import Enum

import torch
from torch.nn import functional

from luthier.training.kernels import bindings

_ROWS = 128


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor) -> torch.Tensor:
    """RMSNorm of x [T, D] into `out`; returns 1 / RMS of each row, float32 [T, 1]. Zhang and Sennrich, 2019.

    `weight` float32 [D], here and below.
    """
    inverse_rms = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    if bindings.supports(x, out):
        bindings.call("rms_norm", x, x, weight, eps, 0, out, out.stride(0), inverse_rms, *x.shape)
        return inverse_rms
    for rows, normed, scale in _row_blocks(_ROWS, x, out, inverse_rms):
        scale.copy_((rows.float().square().mean(-1, keepdim=True) + eps).rsqrt_())
        torch.mul((rows * scale).to(x.dtype), weight, out=normed)
    return inverse_rms


def rms_norm_recompute(x: torch.Tensor, weight: torch.Tensor, inverse_rms: torch.Tensor) -> torch.Tensor:
    """The output of `rms_norm` [T, D] once more, from the 1 / RMS that it returned."""
    out = torch.empty_like(x)
    if bindings.supports(x):
        bindings.call("rms_norm", x, x, weight, 0.0, 1, out, out.stride(0), inverse_rms, *x.shape)
        return out
    for rows, normed, scale in _row_blocks(_ROWS, x, out, inverse_rms):
        torch.mul((rows * scale).to(x.dtype), weight, out=normed)
    return out


def rms_norm_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    inverse_rms: torch.Tensor,
    residual_grad: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient of x [T, D], given that of the output, plus the gradient of the residual branch, if there is one."""
    out = torch.empty_like(x)
    if bindings.supports(grad, x, x if residual_grad is None else residual_grad):
        arguments = grad, grad.stride(0), x, weight, inverse_rms, 0 if residual_grad is None else residual_grad, out
        bindings.call("rms_norm_backward", x, *arguments, *x.shape)
        return out
    if residual_grad is None:
        residual_grad = torch.zeros_like(x)
    for rows, x_rows, scale, residual, grad_x in _row_blocks(_ROWS, grad, x, inverse_rms, residual_grad, out):
        unit = x_rows * scale
        weighted = rows.float() * weight
        projection = (weighted * unit).mean(-1, keepdim=True)
        grad_x.copy_(weighted.sub_(unit.mul_(projection)).mul_(scale).add_(residual))
    return out


class Activation(Enum):
    """The activation function of the gate of a gated MLP."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "tanh-approximated GELU"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self is Activation.SILU:
            return functional.silu(x)
        return functional.gelu(x, approximate=self._approximation)

    def backward(self, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The gradient of x, given that of the output."""
        if self is Activation.SILU:
            return torch.ops.aten.silu_backward(grad, x)  # type: ignore[no-any-return]
        return torch.ops.aten.gelu_backward(grad, x, approximate=self._approximation)  # type: ignore[no-any-return]

    @property
    def _approximation(self) -> str:
        return "tanh" if self is Activation.GELU_TANH else "none"


def gated(gate_up: torch.Tensor, activation: Activation, out: torch.Tensor | None = None) -> torch.Tensor:
    """[T, 2 I] -> [T, I], into `out` if there is one: activation(gate) * up. Shazeer, 2020."""
    if out is None:
        out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
    if activation is not Activation.GELU and bindings.supports(gate_up, out):
        arguments = int(activation is Activation.GELU_TANH), gate_up, out, out.stride(0)
        bindings.call("gated", out, *arguments, *out.shape)
        return out
    gate, up = gate_up.chunk(2, -1)
    return torch.mul(activation(gate), up, out=out)


def gated_backward(
    grad: torch.Tensor, gate_up: torch.Tensor, activation: Activation
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of gate_up [T, 2 I], the output of `gated` [T, I] recomputed), given the gradient [T, I]."""
    grad_gate_up = torch.empty_like(gate_up)
    if activation is not Activation.GELU and bindings.supports(grad, gate_up):
        out = grad.new_empty(grad.shape)
        arguments = int(activation is Activation.GELU_TANH), grad, grad.stride(0), gate_up, grad_gate_up, out
        bindings.call("gated_backward", grad_gate_up, *arguments, *grad.shape)
        return grad_gate_up, out
    (gate, up), (grad_gate, grad_up) = gate_up.chunk(2, -1), grad_gate_up.chunk(2, -1)
    activated = activation(gate)
    torch.mul(grad, activated, out=grad_up)
    grad_gate.copy_(activation.backward(grad * up, gate))
    return grad_gate_up, activated.mul_(up)


def apply_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, inverse: bool = False) -> None:
    """Rotates x [T, H, K] in place; cos and sin [T, 1, K / 2]; `inverse` rotates back. Su et al., 2021."""
    sign = -1 if inverse else 1
    if bindings.supports(x, cos, sin):
        bindings.call("apply_rotary", x, x, x.stride(0), x.stride(1), cos, sin, float(sign), *x.shape)
        return
    first, second = x.chunk(2, -1)
    rotated = (first * cos).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=second).addcmul_(first, sin, value=sign)
    first.copy_(rotated)


def log_softmax_at(logits: torch.Tensor, targets: torch.Tensor, rows_at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log softmax of logits [N, V] at targets [N], float32, and whether each target is an argmax, bool [N]).

    Replaces `logits` by their softmax.
    """
    if bindings.supports(logits):
        logprobs, is_argmax = torch.empty(len(logits)), torch.empty(len(logits), dtype=torch.bool)
        bindings.call("log_softmax_at", logits, logits, targets, logprobs, is_argmax, *logits.shape)
        return logprobs, is_argmax
    logprob_blocks, argmax_blocks = [], []
    target_logits = logits.gather(-1, targets[:, None]).float()
    for rows, target in _row_blocks(rows_at_once, logits, target_logits):
        maximum = rows.amax(-1, keepdim=True).float()
        exponentials = rows.float().sub_(maximum).exp_()
        total = exponentials.sum(-1, keepdim=True)
        rows.copy_(exponentials.div_(total))
        logprob_blocks.append((target - maximum - total.log())[:, 0])
        argmax_blocks.append((target >= maximum)[:, 0])
    return torch.cat(logprob_blocks), torch.cat(argmax_blocks)


def _row_blocks(count: int, *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Iterate over the tensors, `count` rows of each at a time."""
    for start in range(0, len(tensors[0]), count):
        yield tuple(tensor[start : start + count] for tensor in tensors)
