"""A linear layer with its LoRA adapters, forward and backward.

T tokens, D inputs, O outputs, R the adapters' rank in all. `weight` [O, D + R]: the base weights, and beside them the
adapters' B; it multiplies x and A x in one product, which is rounded once. `a` [R, D]: the adapters' A. The AMX kernels
never store x and A x side by side in memory; elsewhere x is written with space for A x beside it.
"""

import torch

from luthier.training.kernels import bindings


def empty_inputs(like: torch.Tensor, inputs: int, weight: torch.Tensor) -> torch.Tensor:
    """Rows for the x of `lora_linear`, as many as `like` has: [T, D + R], of which x is to fill D, or [T, D] on AMX."""
    width = inputs if _is_on_amx(weight) else weight.shape[1]
    return like.new_empty(len(like), width)


def lora_linear(
    x: torch.Tensor, a: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [T, D] -> ([x, x A'] weight' + residual [T, O], x A' [T, R]).

    x may have R more columns, as `empty_inputs` makes them, which are overwritten.
    """
    if bindings.supports_amx(x, a) and _is_on_amx(weight):
        low, out = x.new_empty(len(x), len(a)), x.new_empty(len(x), len(weight))
        arguments = x, a, weight, 0 if residual is None else residual, low, out
        bindings.call("lora_linear", x, *arguments, *_sizes(x, a, weight))
        return out, low
    inputs = a.shape[1]
    low = x[:, :inputs] @ a.T
    if x.shape[1] > inputs:
        x[:, inputs:] = low
    elif len(a):
        x = torch.cat([x, low], -1)
    return (x @ weight.T if residual is None else torch.addmm(residual, x, weight.T)), low


def lora_linear_backward(
    grad: torch.Tensor, a: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the gradient of x [T, D], whose rows may be apart in memory, that of x A' [T, R]), given that of the outputs."""
    inputs = a.shape[1]
    if bindings.supports_amx(grad, a, weight):
        grad_low, grad_x = grad.new_empty(len(grad), len(a)), grad.new_empty(len(grad), inputs)
        bindings.call("lora_linear_backward", grad, grad, a, weight, grad_low, grad_x, *_sizes(grad, a, weight))
        return grad_x, grad_low
    grad_both = grad @ weight
    grad_low = grad_both[:, inputs:].contiguous()
    return grad_both[:, :inputs].addmm_(grad_low, a), grad_low


def lora_factors_backward(
    grad: torch.Tensor, x: torch.Tensor, low: torch.Tensor, grad_low: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of A [R, D] and of the weight's last R columns, transposed [R, O], in float32."""
    if bindings.supports_amx(grad, x, low, grad_low):
        grad_a, grad_b = (torch.empty(low.shape[1], size) for size in (x.shape[1], grad.shape[1]))
        sizes = len(x), x.shape[1], low.shape[1], grad.shape[1]
        bindings.call("lora_factors_backward", x, low, grad_low, x, grad, grad_a, grad_b, *sizes)
        return grad_a, grad_b
    return (grad_low.T @ x).float(), (low.T @ grad).float()


def _is_on_amx(weight: torch.Tensor) -> bool:
    return bindings.supports_amx(weight) and len(weight) % bindings.AMX_MULTIPLE == 0


def _sizes(rows: torch.Tensor, a: torch.Tensor, weight: torch.Tensor) -> tuple[int, int, int, int]:
    """T, D, R, O as the kernels take them."""
    return len(rows), a.shape[1], len(a), len(weight)
