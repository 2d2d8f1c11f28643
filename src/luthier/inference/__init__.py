"""Base model + adapter + prompt ids → tokens; one small Engine protocol, several engines."""

from luthier.inference.engine import (
    Embedder,
    Engine,
    FinishReason,
    Generation,
    Sampling,
    TextEmbedder,
    Token,
    TokenStream,
    in_background,
)
from luthier.inference.pool import EnginePool, Pool

__all__ = [
    "Embedder",
    "Engine",
    "EnginePool",
    "FinishReason",
    "Generation",
    "Pool",
    "Sampling",
    "TextEmbedder",
    "Token",
    "TokenStream",
    "in_background",
]
