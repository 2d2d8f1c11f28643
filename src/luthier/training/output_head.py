"""The output layer of a base model: from hidden states to logits, with the scale and the soft cap of some families."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from luthier.training.kernels.attention import NAME
from luthier.training.packing.packed_layout import Layout
from luthier.training.packing.prefix_tree import separate
from luthier.types.errors import BaseModelError

_PROBE_TOKENS = 8
# Relative to the largest logit; a missing factor has a far greater effect
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class OutputHead:
    """Logits are `softcap * tanh(scale * (hidden @ weight.T + bias) / softcap)`; without a cap the scaled product."""

    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, base: Any) -> "OutputHead":
        """Among the heads that the config may mean, the one that reproduces the model's own logits on some tokens.

        Raises:
            BaseModelError: None of them does.
        """
        layer = base.get_output_embeddings()
        ids = torch.arange(_PROBE_TOKENS, device=layer.weight.device)[None] % base.config.vocab_size
        layout = Layout(separate([range(_PROBE_TOKENS)]), ids.device)
        options = {"use_cache": False} | ({"layout": layout} if base.config._attn_implementation == NAME else {})
        with torch.no_grad():
            expected = base(input_ids=ids, **options).logits[0].float()
            hidden = base.base_model(input_ids=ids, **options).last_hidden_state[0]
            limit = _TOLERANCE.get(base.dtype, 1e-1) * float(expected.abs().max())
            for head in cls._candidates(base.config):
                if float((head.logits(hidden, layer) - expected).abs().max()) <= limit:
                    return head
        raise BaseModelError("This base model changes its logits after the output layer in a way that is not known.")

    @classmethod
    def _candidates(cls, config: Any) -> Iterator["OutputHead"]:
        factors = [value for name in ("logits_scaling", "logit_scale") if (value := getattr(config, name, None))]
        for softcap in dict.fromkeys([getattr(config, "final_logit_softcapping", None), None]):
            for scale in dict.fromkeys([1.0, *factors, *(1 / factor for factor in factors)]):
                yield cls(scale, softcap)

    def logits(self, hidden: torch.Tensor, layer: Any) -> torch.Tensor:
        """hidden [N, D] -> float32 [N, V]; `layer`: the output layer."""
        logits = functional.linear(hidden.to(layer.weight.dtype), layer.weight, layer.bias).float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)
