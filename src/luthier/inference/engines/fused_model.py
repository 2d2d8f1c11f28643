"""Decoders whose projections are fused: loading one for an engine, and the sizes that engines and adapters need."""

from pathlib import Path
from typing import Any

import torch

from luthier.arch import Backend, DecoderSpec, Unsupported
from luthier.arch.projections import linear_names, output_sizes, shapes
from luthier.inference.engines.model_loading import load_base
from luthier.types.errors import BaseModelError


class FusedModel:
    """Sizes, dtype and device of a decoder with fused projections.

    Per fused projection, `linears`: the names of the linear layers in it; `sizes`: the outputs of each; `shapes`:
    (inputs, outputs) of the whole.
    """

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.spec, self.dtype, self.device = spec, dtype, device
        self.depth = spec.layers
        self.context_tokens = spec.context_tokens
        self.vocabulary_size = spec.vocab_size
        self.linears = linear_names(spec)
        self.sizes = output_sizes(spec)
        self.shapes = shapes(spec)


def load_decoder(base: Path, dtype: torch.dtype, backend: Backend) -> tuple[DecoderSpec, Any]:
    """The description of a base model, and the transformers model to read its weights from, without gradients.

    Raises BaseModelError for a model that cannot be loaded, or that needs a feature which `backend` does not support.
    """
    spec = DecoderSpec.from_folder(base)
    if isinstance(spec, Unsupported) or backend.refusal(spec):
        raise BaseModelError(unsupported_message(base, spec, backend))
    return spec, load_base(base, dtype).requires_grad_(False)


def unsupported_message(base: Path, spec: DecoderSpec | Unsupported, backend: Backend) -> str:
    """What a person reads who chose an engine that cannot run the model."""
    return (
        f"The base model {base.name} cannot run here: {backend.refusal(spec)}. "
        "Start with --engine transformers, which runs every architecture, or --engine auto."
    )
