"""Inference: base model + adapter + prompt ids → tokens.

Engine = EngineLoop(Scheduler(KVCache, LoraSlots, PrefixCache), ModelRunner): an engine implements only the runner.
"""

from luthier.inference.engine import (
    Embedder,
    Engine,
    EngineRequest,
    FinishReason,
    OnToken,
    SamplingParams,
    TextEmbedder,
    Token,
    TokenEvent,
    TokenStream,
)
from luthier.inference.options import EngineOptions, VllmOptions
from luthier.inference.pool import EnginePool, Pool
from luthier.inference.scheduling.fairness import fairness_key, low_priority

__all__ = [
    "Embedder",
    "Engine",
    "EngineOptions",
    "EnginePool",
    "EngineRequest",
    "FinishReason",
    "OnToken",
    "Pool",
    "SamplingParams",
    "TextEmbedder",
    "Token",
    "TokenEvent",
    "TokenStream",
    "VllmOptions",
    "fairness_key",
    "low_priority",
]
