"""Several LoRA layers with the same input as one matrix product, forward and backward."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import Linear

from luthier.training.kernels import bindings, lora_linear


class FusedLinear:
    """Linear layers with the same input as one matrix product: D inputs, O outputs in all, R the padded sum of ranks.

    `parameters`: A and B of each layer that has an adapter. `weight` [O, D + R]: the base weights, and scaling x B on
    the block diagonal of the last R columns; it multiplies [x, A x]. The base layers' weights become views of it.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        bases = [_base(layer) for layer in layers]
        self._adapted = [layer for layer in layers if isinstance(layer, Linear)]
        self._factors = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in self._adapted]
        self.parameters = [parameter for pair in self._factors for parameter in pair]
        self._inputs = bases[0].in_features
        self._blocks: list[tuple[slice, slice, float]] = []  # of each adapter: its part of O and of R, its scaling
        row = rank = 0
        for layer, base in zip(layers, bases, strict=True):
            if isinstance(layer, Linear):
                rows, columns = slice(row, row + base.out_features), slice(rank, rank + layer.r["default"])
                self._blocks.append((rows, columns, layer.scaling["default"]))
                rank = columns.stop
            row += base.out_features
        self._rank = -(-rank // bindings.AMX_MULTIPLE) * bindings.AMX_MULTIPLE
        like = bases[0].weight
        self.weight = torch.zeros(row, self._inputs + self._rank, dtype=like.dtype, device=like.device)
        for base, part in zip(bases, self.weight.split_with_sizes([b.out_features for b in bases]), strict=True):
            part[:, : self._inputs] = base.weight.data
            base.weight.data = part[:, : self._inputs]
        biases = [base.bias for base in bases if base.bias is not None]
        self.bias = torch.cat([bias.data for bias in biases]) if biases else None

    def load_factors(self) -> torch.Tensor:
        """Copies the adapters' B into `weight` (zeros while adapters are disabled); returns all A as one [R, D]."""
        a_all = self.weight.new_zeros(self._rank, self._inputs)
        b_columns = self.weight[:, self._inputs :]
        for (rows, columns, scaling), (a, b) in zip(self._blocks, self._factors, strict=True):
            a_all[columns] = a
            b_columns[rows, columns] = 0 if self._adapted[0].disable_adapters else b * scaling
        return a_all

    def empty_inputs(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows for `forward`, as many as `like` has; the part of them that x [T, D] is to fill)."""
        rows = lora_linear.empty_inputs(like, self._inputs, self.weight)
        return rows, rows[:, : self._inputs]

    def forward(
        self, x: torch.Tensor, a: torch.Tensor, residual: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x [T, D], or rows that it fills -> (all outputs [T, O], plus `residual`; A x [T, R])."""
        out, low = lora_linear.lora_linear(x, a, self.weight, residual)
        return (out if self.bias is None else out.add_(self.bias)), low

    def input_gradient(self, gradient: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient of the outputs [T, O] -> (of x [T, D], of A x [T, R])."""
        return lora_linear.lora_linear_backward(gradient, a, self.weight)

    def parameter_gradients(
        self, gradient: torch.Tensor, x: torch.Tensor, low: torch.Tensor, low_gradient: torch.Tensor
    ) -> list[torch.Tensor]:
        """Of `parameters`, in their order."""
        if not self._blocks:
            return []
        a_all, b_all = lora_linear.lora_factors_backward(gradient, x, low, low_gradient)
        pairs = ((a_all[columns], b_all[columns, rows].T * scaling) for rows, columns, scaling in self._blocks)
        return [gradient for pair in pairs for gradient in pair]


def _base(linear: Any) -> Any:
    return linear.get_base_layer() if isinstance(linear, Linear) else linear
