"""The elementwise parts of a Llama layer, forward and backward, as plain functions of tensors.

Each does little work on much memory, so what counts is how often memory is gone through. Norms run on some rows
at a time, which stay in the processor's cache from one operation to the next.
"""

from collections.abc import Iterator

import torch
from torch.nn import functional

_ROWS = 128


def normalise(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """RMSNorm of x [T, D] -> (in the dtype of x, the factor of each row float32 [T, 1]). Zhang and Sennrich, 2019."""
    out, factors = torch.empty_like(x), torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    for rows, normed, factor in _some_rows(_ROWS, x, out, factors):
        factor.copy_((rows.float().square().mean(-1, keepdim=True) + eps).rsqrt_())
        torch.mul((rows * factor).to(x.dtype), weight, out=normed)
    return out, factors


def normalise_again(x: torch.Tensor, weight: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """What `normalise` gave, from its factors."""
    out = torch.empty_like(x)
    for rows, normed, factor in _some_rows(_ROWS, x, out, factors):
        torch.mul((rows * factor).to(x.dtype), weight, out=normed)
    return out


def normalise_backward(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, factors: torch.Tensor
) -> torch.Tensor:
    """The gradient of x, given that of the normalised rows; `factors` as `normalise` found them."""
    out = torch.empty_like(x)
    for rows, x_rows, factor, made in _some_rows(_ROWS, gradient, x, factors, out):
        unit = x_rows * factor
        scaled = rows.float() * weight
        along = (scaled * unit).mean(-1, keepdim=True)
        made.copy_(scaled.sub_(unit.mul_(along)).mul_(factor))
    return out


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """[T, 2 I] -> [T, I]: silu(gate) * up. Shazeer, 2020."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def swiglu_backward(gradient: torch.Tensor, gate_up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of gate_up [T, 2 I], swiglu once more [T, I]), given the gradient [T, I]."""
    out = torch.empty_like(gate_up)
    (gate, up), (of_gate, of_up) = gate_up.chunk(2, -1), out.chunk(2, -1)
    active = functional.silu(gate)
    torch.mul(gradient, active, out=of_up)
    torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=of_gate)
    return out, active.mul_(up)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [T, H, K], cos and sin [T, 1, K / 2]; rotating by the negative sine undoes it. Su et al., 2021."""
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (one, two), (first, second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(one, cos, out=first).addcmul_(two, sin, value=-1)
    torch.mul(two, cos, out=second).addcmul_(one, sin)
    return out


def log_softmax_at(logits: torch.Tensor, targets: torch.Tensor, rows_at_once: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log softmax of logits [N, V] at targets [N] in float32, whether nothing is likelier bool [N]).

    Leaves the softmax in `logits`.
    """
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
