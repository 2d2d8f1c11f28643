"""Base models: from a name to a folder with safetensors, tokenizer and chat template.

A name is an entry of the catalogue below or, from the operator's settings only, the path of such a folder. What
an entry needs is fetched once and converted into the cache. Knows nothing about jobs, requests or adapters.
"""

from luthier.catalogue.bases import ENTRIES, BaseModel, Catalogue

__all__ = ["ENTRIES", "BaseModel", "Catalogue"]
