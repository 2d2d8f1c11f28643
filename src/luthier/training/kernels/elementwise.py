"""The elementwise parts of a Llama layer, forward and backward, as plain functions of tensors.

Each does little work on much memory, so what counts is how often memory is gone through: once where `native` can
run, and else some rows at a time, which stay in the processor's cache from one operation to the next.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional

from luthier.training.kernels import bindings

_ROWS = 128


def normalise(x: torch.Tensor, weight: torch.Tensor, eps: float, out: torch.Tensor) -> torch.Tensor:
    """RMSNorm of x [T, D] into `out`; returns the factor of each row, float32 [T, 1]. Zhang and Sennrich, 2019."""
    factors = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    if bindings.supports(x, weight, out):
        bindings.call("normalise", x, x, weight, eps, 0, out, out.stride(0), factors, *x.shape)
        return factors
    for rows, normed, factor in _some_rows(_ROWS, x, out, factors):
        factor.copy_((rows.float().square().mean(-1, keepdim=True) + eps).rsqrt_())
        torch.mul((rows * factor).to(x.dtype), weight, out=normed)
    return factors


def normalise_again(x: torch.Tensor, weight: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """What `normalise` gave, from its factors."""
    out = torch.empty_like(x)
    if bindings.supports(x, weight):
        bindings.call("normalise", x, x, weight, 0.0, 1, out, out.stride(0), factors, *x.shape)
        return out
    for rows, normed, factor in _some_rows(_ROWS, x, out, factors):
        torch.mul((rows * factor).to(x.dtype), weight, out=normed)
    return out


def normalise_backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, factors: torch.Tensor, more: torch.Tensor
) -> torch.Tensor:
    """The gradient of x, given that of the normalised rows, plus `more`; `factors` as `normalise` found them."""
    out = torch.empty_like(x)
    if bindings.supports(gradient, x, weight, more):
        bindings.call("normalise_backward", x, gradient, gradient.stride(0), x, weight, factors, more, out, *x.shape)
        return out
    for rows, x_rows, factor, beside, made in _some_rows(_ROWS, gradient, x, factors, more, out):
        unit = x_rows * factor
        scaled = rows.float() * weight
        along = (scaled * unit).mean(-1, keepdim=True)
        made.copy_(scaled.sub_(unit.mul_(along)).mul_(factor).add_(beside))
    return out


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """[T, 2 I] -> [T, I]: silu(gate) * up. Shazeer, 2020."""
    if bindings.supports(gate_up):
        out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
        bindings.call("swiglu", out, gate_up, out, out.stride(0), *out.shape)
        return out
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def swiglu_backward(gradient: torch.Tensor, gate_up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of gate_up [T, 2 I], swiglu once more [T, I]), given the gradient [T, I]."""
    out = torch.empty_like(gate_up)
    if bindings.supports(gradient, gate_up):
        active = gradient.new_empty(gradient.shape)
        bindings.call("swiglu_backward", out, gradient, gradient.stride(0), gate_up, out, active, *gradient.shape)
        return out, active
    (gate, up), (of_gate, of_up) = gate_up.chunk(2, -1), out.chunk(2, -1)
    active = functional.silu(gate)
    torch.mul(gradient, active, out=of_up)
    torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=of_gate)
    return out, active.mul_(up)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, back: bool = False) -> None:
    """Turns x [T, H, K] in place, cos and sin [T, 1, K / 2]; `back` undoes it. Su et al., 2021."""
    if bindings.supports(x, cos, sin):
        bindings.call("rotate", x, x, x.stride(0), cos, sin, -1.0 if back else 1.0, *x.shape)
        return
    one, two = x.chunk(2, -1)
    sign = -1 if back else 1
    first = (one * cos).addcmul_(two, sin, value=-sign)
    torch.mul(two, cos, out=two).addcmul_(one, sin, value=sign)
    one.copy_(first)


def log_softmax_at(logits: torch.Tensor, targets: torch.Tensor, rows_at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log softmax of logits [N, V] at targets [N] in float32, whether nothing is likelier bool [N]).

    Leaves the softmax in `logits`.
    """
    if bindings.supports(logits):
        values, best = torch.empty(len(logits)), torch.empty(len(logits), dtype=torch.bool)
        bindings.call("log_softmax_at", logits, logits, targets, values, best, *logits.shape)
        return values, best
    found, likeliest = [], []
    wanted = logits.gather(-1, targets[:, None]).float()
    for rows, given in _some_rows(rows_at_once, logits, wanted):
        top = rows.amax(-1, keepdim=True).float()
        shares = rows.float().sub_(top).exp_()
        total = shares.sum(-1, keepdim=True)
        rows.copy_(shares.div_(total))
        found.append((given - top - total.log())[:, 0])
        likeliest.append((given >= top)[:, 0])
    return torch.cat(found), torch.cat(likeliest)


def _some_rows(count: int, *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The tensors, `count` rows of each at a time."""
    for start in range(0, len(tensors[0]), count):
        yield tuple(tensor[start : start + count] for tensor in tensors)
