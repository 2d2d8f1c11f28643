"""How many tokens are computed at once, from the memory that is free; and giving back what is free again."""

import ctypes
import os
from typing import Any

import torch

_LEAST_TOKENS, _MOST_TOKENS = 256, {"cpu": 3072, "cuda": 8192}  # more of them at once are no faster
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_ARENAS = -1, -3, -8  # malloc.h


def micro_batch_tokens(config: Any, device: torch.device, dtype: torch.dtype, reserved_bytes: int = 0) -> int:
    """A quarter of what is free beside `reserved_bytes` may hold what a micro-batch keeps for its way back."""
    fits = (free_bytes(device) - reserved_bytes) // 4 // bytes_per_token(config, dtype)
    return int(min(max(fits, _LEAST_TOKENS), _MOST_TOKENS[device.type]))


def too_long(tokens: int, config: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether so many tokens at once need more than half of the free memory: then layers are computed twice."""
    return tokens * bytes_per_token(config, dtype) > free_bytes(device) // 2


def bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """About what a layer keeps per token (its input, heads, and what the activation reads), times the layers.

    Doubled: transformers' own layers keep about twice as much as those in `llama`.
    """
    text = config.get_text_config()
    per_layer = 6 * text.hidden_size + 2 * (getattr(text, "intermediate_size", None) or 4 * text.hidden_size)
    return int(2 * dtype.itemsize * per_layer * text.num_hidden_layers)


def free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - not a file of ours
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except OSError:  # not Linux: half of all there is, as a guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def keep_what_is_freed() -> None:
    """Before the first tensor: glibc takes memory from the system once, not anew, zeroed, for each tensor of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_TRIM_THRESHOLD, 2**31 - 1), (_MMAP_THRESHOLD, 2**25), (_MOST_ARENAS, 1)):
            mallopt(option, value)
