"""Linear layers with constant weights, in the memory layout that is fastest on the CPU.

In bfloat16 on x86 CPUs, oneDNN's packed order serves one row and five hundred equally well and is batch-invariant: a
row has the same bits alone and in a batch. In float32 and on other devices, the weight is unchanged.
"""

import platform
from typing import Any

import torch
from torch.nn import functional

# The number of rows that oneDNN packs for. With a larger one, it sums the products of a single row in a different order
# than those of several.
_ROWS = 1


class PackedLinear:
    """x [T, D] -> x W^T + b + addend [T, O], rounded once.

    An addend that is much smaller than the product would be lost if the product were rounded to bfloat16 before.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """weight [O, D], bias [O]."""
        self._bias, self.packed = bias, can_pack(weight.device, weight.dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS) if self.packed else weight

    def __call__(self, x: torch.Tensor, addend: torch.Tensor | None = None) -> torch.Tensor:
        """addend [T, O]."""
        out: torch.Tensor
        if not self.packed:
            if addend is None:
                return functional.linear(x, self._weight, self._bias)
            if self._bias is None:
                return torch.addmm(addend, x, self._weight.T)
            return torch.addmm(addend + self._bias, x, self._weight.T)
        if addend is None:
            out = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        else:
            out = torch.ops.mkldnn._linear_pointwise.binary(x, addend, self._weight, self._bias, "add")
        return out


def fuse(layer: Any, names: tuple[str, ...]) -> PackedLinear:
    """One linear layer for several of a layer of transformers, whose own weights are freed."""
    linears = [layer.get_submodule(name) for name in names]
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = None if linears[0].bias is None else torch.cat([linear.bias.data for linear in linears])
    for linear in linears:
        linear.weight.data = weight.new_empty(0)
    return PackedLinear(weight, bias)


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    return (
        device.type == "cpu"
        and dtype == torch.bfloat16
        and platform.machine().lower() in ("x86_64", "amd64")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
