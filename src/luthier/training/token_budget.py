"""The token budget of micro-batches, from the memory that is free."""

from typing import Any

import torch

from luthier.devices import DEVICES
from luthier.training.rank_environment import rank_of_environment

_MIN_TOKENS = 256


def tokens_in_memory(config: Any, device: torch.device, dtype: torch.dtype, reserved_bytes: int = 0) -> int:
    """The number of tokens whose activations take a quarter of the free memory after `reserved_bytes`, up to what all
    threads can use, each with a micro-batch of its own."""
    tokens = (free_bytes(device) - reserved_bytes) // 4 // bytes_per_token(config, dtype)
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return int(min(max(tokens, _MIN_TOKENS), threads * DEVICES[device.type].micro_batch_tokens))


def exceeds_memory(tokens: int, config: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the activations of this many tokens take more than half of the free memory."""
    return tokens * bytes_per_token(config, dtype) > free_bytes(device) // 2


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Approximate bytes that all layers save per token (input, heads, and the activation function's input).

    Doubled: transformers' own layers keep about twice as much as those in `luthier.training.lora.fused_decoder`.
    """
    text = config.get_text_config()
    per_layer = 6 * text.hidden_size + 2 * (getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    return int(2 * dtype.itemsize * per_layer * text.num_hidden_layers)


def free_bytes(device: torch.device) -> int:
    """Free memory of the GPU, or of the machine divided by its ranks."""
    free = DEVICES[device.type].free_bytes()
    return free // rank_of_environment().local_ranks if device.type == "cpu" else free
