"""LoRA layers of PEFT whose sum of base and adapter is rounded once.

PEFT adds the adapter's output to a product that has already been rounded. In bfloat16, an output of less than half a
unit in the last place is then lost at every element, and with it the effect of a few steps at a small learning rate.
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear


def round_once(model: Any) -> None:
    """Applies to the plain LoRA layers of a PEFT model; may be called again after further adapters were loaded."""
    for module in model.modules():
        if isinstance(module, Linear) and type(module.get_base_layer()) is torch.nn.Linear:
            module.forward = partial(_forward, module)


def _forward(module: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """x [..., D] -> [..., O]; layers with several adapters, merged ones and other kinds go through PEFT's own code."""
    names = [name for name in module.active_adapters if name in module.lora_A]
    other = module.disable_adapters or module.merged or any(map(module.use_dora.get, names))
    if len(names) != 1 or other or args or kwargs:
        out: torch.Tensor = type(module).forward(module, x, *args, **kwargs)
        return out
    (name,) = names
    base = module.get_base_layer()
    low = module.lora_A[name](module.lora_dropout[name](x.to(module.lora_A[name].weight.dtype)))
    share = (module.lora_B[name](low) * module.scaling[name]).flatten(0, -2).to(x.dtype)
    addend = share if base.bias is None else share + base.bias
    return torch.addmm(addend, x.flatten(0, -2), base.weight.T).view(*x.shape[:-1], -1)
