"""Decoders whose projections are fused: the sizes that engines and adapters need. Imports no torch."""

from pathlib import Path

from luthier.arch import Backend, DecoderSpec, Unsupported
from luthier.arch.projections import linear_names, output_sizes, shapes
from luthier.types.errors import BaseModelError


class FusedModel:
    """Sizes of a decoder with fused projections.

    Per fused projection, `linears`: the names of the linear layers in it; `sizes`: the outputs of each; `shapes`:
    (inputs, outputs) of the whole.
    """

    def __init__(self, spec: DecoderSpec) -> None:
        self.spec = spec
        self.depth = spec.layers
        self.context_tokens = spec.context_tokens
        self.vocabulary_size = spec.vocab_size
        self.linears = linear_names(spec)
        self.sizes = output_sizes(spec)
        self.shapes = shapes(spec)


def decoder_spec(base: Path, backend: Backend) -> DecoderSpec:
    """Raises BaseModelError for a model that needs a feature which `backend` does not support."""
    spec = DecoderSpec.from_folder(base)
    if isinstance(spec, Unsupported) or backend.refusal(spec):
        raise BaseModelError(unsupported_message(base, spec, backend))
    return spec


def unsupported_message(base: Path, spec: DecoderSpec | Unsupported, backend: Backend) -> str:
    """The message for a user who chose an engine that cannot run the model."""
    return (
        f"The base model {base.name} cannot run here: {backend.refusal(spec)}. "
        "Start with --engine transformers, which runs every architecture, or --engine auto."
    )
