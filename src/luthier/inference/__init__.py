"""Base model + adapter + prompt ids → tokens; one small Engine protocol, several engines."""

from luthier.inference.engine import (
    Embedder,
    Engine,
    FinishReason,
    Generation,
    OnToken,
    Sampling,
    TextEmbedder,
    Token,
    TokenEvent,
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
    "OnToken",
    "Pool",
    "Sampling",
    "TextEmbedder",
    "Token",
    "TokenEvent",
    "TokenStream",
    "in_background",
]
