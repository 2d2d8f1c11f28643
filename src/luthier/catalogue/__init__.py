"""Base models: from a name to a folder with safetensors, tokenizer and chat template.

A name is an entry of the catalogue below or, from the operator's settings only, the path of such a folder. What
an entry needs is fetched once and converted into the cache. Knows nothing about jobs, requests or adapters.
"""

from pathlib import Path

from luthier.catalogue.bases import ENTRIES, BaseModel, Catalogue, Report
from luthier.settings import Settings

__all__ = ["ENTRIES", "BaseModel", "Catalogue", "pull"]


def pull(name: str | None, report: Report) -> Path:
    """Make a base model ready (the settings' own when no name is given). Raises BaseModelError."""
    settings = Settings()
    return Catalogue(settings.cache).folder(name or settings.base, report)
