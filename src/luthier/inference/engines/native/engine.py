"""The native engine: tokens of many answers, and pieces of prompts, in one pass through `forward.cpp`."""

from pathlib import Path

from luthier.inference.engines.native.model import Native
from luthier.inference.engines.paged import PagedEngine, on_processor
from luthier.inference.pool import EngineOptions


class NativeEngine(PagedEngine):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        super().__init__(
            base, options, Native(base, on_processor(options, "native"), options.adapters_in_memory, options.cache)
        )
