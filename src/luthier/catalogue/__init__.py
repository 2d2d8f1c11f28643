"""Base models: from a name to a folder with safetensors, tokenizer and chat template.

A name is a catalogue entry, a model pulled from a hub, folder or GGUF file, or (from the operator's settings only) the
path of a model folder. An entry is fetched once and converted into the cache folder.
"""

from luthier.catalogue.bases import ENTRIES, Catalogue, CatalogueEntry, Notify
from luthier.catalogue.local_models import LocalModel

__all__ = ["ENTRIES", "Catalogue", "CatalogueEntry", "LocalModel", "Notify"]
