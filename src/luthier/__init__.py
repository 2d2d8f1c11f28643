"""Luthier: OpenAI's fine-tuning API on your own machine."""

__version__ = "0.1.0"
__all__ = ["__version__"]
