"""A projection with its adapters, forward and backward, as plain functions of tensors.

T tokens, D inputs, O outputs, R rows of the adapters' first factor. `weight` [O, D + R]: the base's weights and beside
them the second factor; it multiplies x and A x in one product, which is rounded once. `a` [R, D]: the first factor.
Where the processor has a matrix unit that `native` knows, x and A x are never laid side by side.
"""

import torch

from luthier.training.kernels import bindings


def project(
    x: torch.Tensor, a: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [T, D] -> ([x, x A'] weight' + residual [T, O], x A' [T, R])."""
    if bindings.supports_amx(x, a, weight) and len(weight) % bindings.AMX_MULTIPLE == 0:
        low, out = x.new_empty(len(x), len(a)), x.new_empty(len(x), len(weight))
        bindings.call("project", x, x, a, weight, 0 if residual is None else residual, low, out, *_sizes(x, a, weight))
        return out, low
    low = x @ a.T
    wide = torch.cat([x, low], -1)
    return (wide @ weight.T if residual is None else torch.addmm(residual, wide, weight.T)), low


def project_backward(
    gradient: torch.Tensor, a: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of x [T, D], that of x A' [T, R]), given that of the outputs [T, O]."""
    inputs = a.shape[1]
    if bindings.supports_amx(gradient, a, weight):
        of_low, of_x = gradient.new_empty(len(gradient), len(a)), gradient.new_empty(len(gradient), inputs)
        bindings.call("project_backward", gradient, gradient, a, weight, of_low, of_x, *_sizes(gradient, a, weight))
        return of_x, of_low
    wide = gradient @ weight
    of_low = wide[:, inputs:].contiguous()
    return torch.addmm(wide[:, :inputs], of_low, a), of_low


def factors_backward(
    gradient: torch.Tensor, x: torch.Tensor, low: torch.Tensor, of_low: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of A [R, D] and of the weight's last columns, turned [R, O], in float32."""
    if bindings.supports_amx(gradient, x, low, of_low):
        of_a, of_b = (torch.empty(low.shape[1], size) for size in (x.shape[1], gradient.shape[1]))
        sizes = len(x), x.shape[1], low.shape[1], gradient.shape[1]
        bindings.call("factors_backward", x, low, of_low, x, gradient, of_a, of_b, *sizes)
        return of_a, of_b
    return (of_low.T @ x).float(), (low.T @ gradient).float()


def _sizes(rows: torch.Tensor, a: torch.Tensor, weight: torch.Tensor) -> tuple[int, int, int, int]:
    return len(rows), a.shape[1], len(a), len(weight)
