"""Base models: from a name to a folder with safetensors, tokenizer and chat template.

A name is an entry of the catalogue, what a person pulled from a hub, a folder or a GGUF file, or, from the operator's
settings only, the path of a model folder. What an entry needs is fetched once and converted into the cache. Knows
nothing about jobs, requests or adapters.
"""

from luthier.catalogue.bases import ENTRIES, BaseModel, Catalogue, Report
from luthier.catalogue.local_models import Pulled

__all__ = ["ENTRIES", "BaseModel", "Catalogue", "Pulled", "Report"]
