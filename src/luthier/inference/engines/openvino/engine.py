"""The openvino engine: tokens of many answers, and pieces of prompts, in one pass through a compiled graph."""

from pathlib import Path

from luthier.inference.engines.openvino.model import Compiled
from luthier.inference.engines.paged import PagedEngine, on_processor
from luthier.inference.pool import EngineOptions


class OpenVINOEngine(PagedEngine):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError."""
        super().__init__(base, options, Compiled(base, on_processor(options, "openvino"), options.adapters_in_memory))
