"""The plain engine: transformers with PEFT, on any hardware that PyTorch runs on.

One thread owns the model. Answers under way take turns, a token each, so a long one does not hold back a short
one; adapters share the base's weights, are loaded on first use and shed longest unused first.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.utils import logging as transformers_logging

from luthier.hardware import choose as choose_hardware
from luthier.inference.engine import Token
from luthier.inference.engines.model_loading import load_base
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.loop import Pass, Stream, Turns
from luthier.inference.scheduling.scoring import embeddings, scores

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")


class TransformersEngine(Turns):
    def __init__(self, base: Path, options: EngineOptions) -> None:
        super().__init__(base, options)
        device, precision = choose_hardware(options.device, options.precision)
        self._device: torch.device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, precision)
        self._model: Any = load_base(base, self._dtype).to(self._device)
        self.context_tokens: int = getattr(self._model.config, "max_position_embeddings", None) or 4096
        self._adapters: dict[Path, str] = {}  # longest unused first
        self._active: str | None = None
        self._loaded = 0
        self._turn = 0
        self.start()

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        ready = partial(self._with_adapter, adapter)
        return self.queued(lambda: Pass(embeddings(ready, prompts, self._device))).result

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        ready = partial(self._with_adapter, adapter)
        return self.queued(lambda: Pass(scores(ready, prompt, top, start, self._device, DynamicCache()))).result

    def advance(self, due: list[Stream]) -> None:
        """One after the other, since transformers has no batch of several adapters: of each key the one that has
        waited longest, so that whoever sends many requests slows down nobody else's.
        """
        self._turn += 1
        for stream in {stream.key: stream for stream in sorted(reversed(due), key=lambda one: -one.turn)}.values():
            stream.turn = self._turn
            try:
                logits = self._logits(stream)
            except Exception as error:
                self.failed(stream, error)
            else:
                self.chosen(stream, logits)

    @torch.inference_mode()
    def _logits(self, stream: Stream) -> torch.Tensor:
        self._use(stream.generation.adapter)
        if stream.state is None:
            stream.state = DynamicCache()
        ids = torch.tensor([stream.next_ids], device=self._device)
        made = self._model(input_ids=ids, past_key_values=stream.state, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = made.logits[0, -1]
        return logits

    def _with_adapter(self, adapter: Path | None) -> Any:
        self._use(adapter)
        return self._model

    def _use(self, adapter: Path | None) -> None:
        """Make the model that of `adapter`, loading it if need be."""
        name = None if adapter is None else self._loaded_name(adapter)
        if name == self._active:
            return
        if name is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._model.set_adapter(name)
            self._model.base_model.enable_adapter_layers()
        self._active = name

    def _loaded_name(self, adapter: Path) -> str:
        name = self._adapters.pop(adapter, None)
        if name is None:
            self._loaded += 1
            name = f"adapter{self._loaded}"
            if isinstance(self._model, PeftModel):
                self._model.load_adapter(str(adapter), name)
            else:
                self._model = PeftModel.from_pretrained(self._model, str(adapter), name).eval()
            self._to_serving_dtype(name)
        self._adapters[adapter] = name
        while len(self._adapters) > self._options.adapters_in_memory:
            oldest = next(iter(self._adapters))
            self._model.delete_adapter(self._adapters.pop(oldest))
            self._active = "?"  # whatever PEFT activated when it let go, `_use` sets it again
        return name

    def _to_serving_dtype(self, name: str) -> None:
        """PEFT loads adapters in float32; matrix products with them run in the base's format, as in training."""
        for key, parameter in self._model.named_parameters():
            if f".{name}." in key:
                parameter.data = parameter.data.to(self._dtype)
                parameter.requires_grad_(False)
        self._active = "?"
