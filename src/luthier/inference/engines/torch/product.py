"""Products with weights that stay: kept in the order in which the processor reads them fastest.

In bfloat16 on x86 processors, oneDNN's packed order serves one row and five hundred equally well, and gives a row the
same bits alone and in a batch. In float32, and on other devices, the weight stays as it was. Knows nothing about
layers or adapters.
"""

import platform

import torch
from torch.nn import functional

# What oneDNN packs for. Packed for more, it adds up the products of one row in another order than those of several.
_ROWS = 1


class Product:
    """x [T, D] -> x W^T + b [T, O]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        """weight [O, D], bias [O]."""
        self._bias, self._packed = bias, packs(weight.device, weight.dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS) if self._packed else weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not self._packed:
            return functional.linear(x, self._weight, self._bias)
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return made


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    return (
        device.type == "cpu"
        and dtype == torch.bfloat16
        and platform.machine().lower() in ("x86_64", "amd64")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )
