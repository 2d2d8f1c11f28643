"""A description of a base model's layers, read from its config, and the backends that support it.

    features.py     the Feature enum: every way in which a decoder departs from the plainest Llama
    families.py     per model type: the features it always has, and the config keys it honours
    experts.py      mixtures of experts
    rotary.py       rotary position embeddings, as old and new configs write them
    decoder.py      DecoderSpec.from_config(config) -> DecoderSpec | Unsupported
    projections.py  the fused projections of a layer, and their sizes
    reader.py       the keys of a config as its model type understands them
    inert_keys.py   config keys that describe no part of the forward pass
    lora_config.py  adapter_config.json: unsupported options, and the scale of a layer
    backend.py      Backend: the features that one implementation supports, and its refusal of others

A new family with one twist takes a Feature (features.py), an entry with the keys that it honours (families.py), and a
tiny model (tests/families.py). transformers runs it at once. A backend gains the twist by computing it and by adding
the feature to its BACKEND.

Imports neither torch nor transformers.
"""

from luthier.arch.backend import Backend
from luthier.arch.decoder import DecoderSpec, Unsupported
from luthier.arch.features import Feature

__all__ = ["Backend", "DecoderSpec", "Feature", "Unsupported"]
