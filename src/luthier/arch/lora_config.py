"""adapter_config.json of a PEFT folder: the supported options, and the scale of each linear layer."""

from collections.abc import Mapping
from typing import Any

_UNSUPPORTED = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "layer_replication")


def unsupported_options(config: Mapping[str, Any]) -> list[str]:
    """The options that affect the result and that Luthier does not support."""
    unsupported = [name for name in _UNSUPPORTED if config.get(name)]
    return unsupported if config.get("bias", "none") == "none" else [*unsupported, "bias"]


def scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """The factor of B @ A for the layer `module`; `rank` is that of its factors, whatever the config says."""
    alpha = _pattern_value(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / rank**0.5 if config.get("use_rslora") else alpha / rank


def _pattern_value(patterns: object, module: str, default: object) -> float:
    """PEFT's patterns match the end of a module's path."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, dict) else ():
        if module.endswith(str(pattern)):
            return float(value)
    return float(str(default))
