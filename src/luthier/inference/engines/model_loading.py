"""Loading models with transformers, one at a time.

While transformers loads a model, PyTorch's default dtype is that of the model in all threads, so two models must not be
loaded at once, and engine code specifies dtypes explicitly.
"""

import threading
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from luthier.arch import Backend, DecoderSpec
from luthier.arch.model_config import load_config
from luthier.arch.text_model import load_causal_lm
from luthier.inference.engines.fused_model import FusedModel, decoder_spec
from luthier.inference.options import EngineOptions
from luthier.native.dtype_choice import choose_dtype
from luthier.types.errors import BaseModelError, without_path

transformers_logging.disable_progress_bar()  # engines load inside commands, which show their own progress
_load_lock = threading.Lock()


def load_model(model_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """`model_class`: of transformers, with `from_pretrained`, whose errors are raised unchanged."""
    with _load_lock:
        options = {"dtype": dtype, "trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
        return model_class.from_pretrained(folder, config=load_config(folder), **options).eval()


def load_base(base: Path, dtype: torch.dtype) -> Any:
    """The text model of a base model folder. Raises BaseModelError."""
    try:
        with _load_lock:
            return load_causal_lm(base, load_config(base), dtype=dtype).eval()
    except (OSError, ValueError) as error:
        raise BaseModelError(f"The base model {base.name} cannot be loaded: {without_path(error, base)}") from error


class TorchModel(FusedModel):
    """A decoder whose weights are tensors of `dtype` on `device`."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(spec)
        self.dtype, self.device = dtype, device


def load_decoder(base: Path, dtype: torch.dtype, backend: Backend) -> tuple[DecoderSpec, Any]:
    """The description of a base model, and the transformers model with its weights, without gradients.

    Raises BaseModelError for a model that cannot be loaded, or that needs a feature which `backend` does not support.
    """
    return decoder_spec(base, backend), load_base(base, dtype).requires_grad_(False)


def hardware_of(options: EngineOptions, folder: Path) -> tuple[torch.device, torch.dtype]:
    """The device and dtype to compute with, for the model in a folder. Raises BaseModelError."""
    choice = choose_dtype(folder, options.device, options.precision, options.cache)
    return torch.device(choice.device), getattr(torch, choice.dtype)
