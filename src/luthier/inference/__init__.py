"""Base model + adapter + prompt ids → tokens; one small Engine protocol, several engines."""

from luthier.inference.engine import Engine, FinishReason, Generation, Sampling, Token, TokenStream, in_background
from luthier.inference.pool import EnginePool

__all__ = ["Engine", "EnginePool", "FinishReason", "Generation", "Sampling", "Token", "TokenStream", "in_background"]
