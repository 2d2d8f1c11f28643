"""HTTP: OpenAI's API, one file per resource. Importing it imports no torch."""

from luthier.server.app import create_app

__all__ = ["create_app"]
