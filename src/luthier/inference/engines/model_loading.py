"""Models as transformers reads them from a folder, one at a time.

While transformers reads one, PyTorch's default number format is that model's, for all threads. So two must not be read
at once, and what an engine computes with says its format itself.
"""

import threading
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from luthier.types.errors import BaseModelError

_one_at_a_time = threading.Lock()


def load(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """`kind`: a class of transformers with `from_pretrained`, whose errors are raised as they are."""
    with _one_at_a_time:
        return kind.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
        ).eval()


def load_base(base: Path, dtype: torch.dtype) -> Any:
    """Raises BaseModelError."""
    try:
        return load(AutoModelForCausalLM, base, dtype)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"The base model {base.name} cannot be loaded: {error}") from error
