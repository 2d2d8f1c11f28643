"""HTTP: OpenAI's API, one file per resource. Importing this package does not import torch."""

from luthier.server.app import create_app

__all__ = ["create_app"]
