"""Models of the Llama family, as the engines written for it know them: which they are and how their layers are joined.

Knows nothing about how they are computed.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from luthier.inference.engines.model_loading import load_base
from luthier.types.errors import BaseModelError

_FAMILY = ("llama", "mistral", "qwen2")
_ROPE = ("default", "linear", "llama3")
# The joined projections, and the layers they are made of as PEFT names them.
GROUPS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


def fits(config: Any) -> bool:
    """Whether a transformers config describes a model that is written here."""
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return (
        config.model_type in _FAMILY
        and config.hidden_act == "silu"
        and not getattr(config, "mlp_bias", False)
        and not window
        and rope.get("rope_type", "default") in _ROPE
        and (config.model_type == "qwen2" or not getattr(config, "attention_bias", False))
    )


def known(base: Path) -> bool:
    """Whether the model in a folder is one of these; False for a folder without a readable config too."""
    try:
        return fits(AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True))
    except (OSError, ValueError):
        return False


def load(base: Path, dtype: torch.dtype) -> Any:
    """The model of transformers, for reading its weights. Raises BaseModelError."""
    model = load_base(base, dtype)
    if not fits(model.config):
        raise BaseModelError(
            f"The base model {base.name} is not of the Llama family as this engine knows it. "
            "Start with --engine transformers."
        )
    return model.requires_grad_(False)


class Joined:
    """A model whose projections that read the same tensor are one: what adapters and engines need to know of it.

    `shapes`: (inputs, outputs) of each joined projection; `sizes`: the outputs of the layers in it.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        """`model`: as `load` gives it."""
        self.device, self.dtype = device, model.dtype
        self.depth = len(model.model.layers)
        self.context_tokens: int = model.config.max_position_embeddings
        self.vocabulary_size: int = len(model.model.embed_tokens.weight)
        first = model.model.layers[0]
        linears = {group: [first.get_submodule(name) for name in names] for group, names in GROUPS.items()}
        self.sizes = {group: [one.out_features for one in ones] for group, ones in linears.items()}
        self.shapes = {group: (ones[0].in_features, sum(self.sizes[group])) for group, ones in linears.items()}
