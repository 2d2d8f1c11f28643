"""The plain engine: transformers with PEFT, on any hardware that PyTorch runs on.

One thread owns the model. Answers under way take turns, a token each, so a long one does not hold back a short
one; adapters share the base's weights, are loaded on first use and shed longest unused first.
"""

import logging
import queue
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging as transformers_logging

from luthier.hardware import choose as choose_hardware
from luthier.inference.engine import FinishReason, Generation, Token, in_background
from luthier.inference.grammar import Matcher
from luthier.inference.passes import embeddings, scores
from luthier.inference.pool import EngineOptions
from luthier.inference.sampling import choose
from luthier.types.errors import APIError, BaseModelError, RateLimitError, UnavailableError

_log = logging.getLogger(__name__)
_BACKGROUND_EVERY = 8  # rounds: so often work that is in no hurry gets a turn while other work waits
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()
warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\..*")


class _Stream:
    """One answer under way: tokens come in from the engine's thread, go out to whoever iterates."""

    def __init__(self, generation: Generation) -> None:
        self.generation, self.background = generation, in_background.get()
        self.finish_reason: FinishReason | None = None
        self.cancelled = threading.Event()
        self.cache = DynamicCache()
        self.next_ids = generation.prompt
        self.counts: Counter[int] = Counter()
        self.matcher: Matcher | None = None
        self.generator = torch.Generator()
        if generation.sampling.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(generation.sampling.seed % 2**63)
        self._out: queue.SimpleQueue[Token | Exception | None] = queue.SimpleQueue()

    def put(self, item: Token | Exception | None) -> None:
        self._out.put(item)

    def __iter__(self) -> Iterator[Token]:
        while (item := self._out.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def cancel(self) -> None:
        self.cancelled.set()


class _Pass:
    """Forward passes that make no answer: a generator that is taken a step at a time; `result` waits for its value."""

    def __init__(self, steps: Generator[None, None, Any]) -> None:
        self._steps, self.result, self.background = steps, Future[Any](), in_background.get()

    def step(self) -> bool:
        """False when it is over, or nobody waits for it any more."""
        try:
            if not self.result.cancelled():
                next(self._steps)
                return True
        except StopIteration as end:
            if self.result.set_running_or_notify_cancel():
                self.result.set_result(end.value)
        except Exception as error:
            _log.exception("a forward pass failed")
            if self.result.set_running_or_notify_cancel():
                self.result.set_exception(error)
        return False


_Work = TypeVar("_Work", _Stream, _Pass)


class TransformersEngine:
    def __init__(self, base: Path, options: EngineOptions) -> None:
        self._base, self._options = base, options
        device, precision = choose_hardware(options.device, options.precision)
        self._device: torch.device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, precision)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                base, dtype=self._dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise BaseModelError(f"The base model {base.name} cannot be loaded: {error}") from error
        self._model: Any = model.to(self._device).eval()
        self.context_tokens: int = getattr(model.config, "max_position_embeddings", None) or 4096
        self._adapters: dict[Path, str] = {}  # longest unused first
        self._active: str | None = None
        self._loaded = 0
        self._waiting: queue.SimpleQueue[_Stream | _Pass | None] = queue.SimpleQueue()
        self._open = 0  # answers queued or under way
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="luthier-engine", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> _Stream:
        return self._queued(lambda: _Stream(generation))

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        ready = partial(self._with_adapter, adapter)
        return self._queued(lambda: _Pass(embeddings(ready, prompts, self._device))).result

    def score(self, prompt: list[int], adapter: Path | None, top: int) -> "Future[list[Token]]":
        ready = partial(self._with_adapter, adapter)
        return self._queued(lambda: _Pass(scores(ready, prompt, top, self._device, DynamicCache()))).result

    def _queued(self, make: Callable[[], _Work]) -> _Work:
        with self._lock:
            if self._closed:
                raise UnavailableError("The server is shutting down.")
            if self._open >= self._options.queue_limit:
                raise RateLimitError(
                    f"{self._open} requests are waiting already. Please try again in 1s.", code="rate_limit_exceeded"
                )
            self._open += 1
            work = make()
            self._waiting.put(work)
        return work

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        works: list[_Stream | _Pass] = []
        turn = 0
        while True:
            while not works or not self._waiting.empty():
                new = self._waiting.get()
                if new is None:
                    for work in works:
                        self._give_up(work)
                    return
                works.append(new)
            turn += 1
            hurried = [work for work in works if not work.background] or works
            due = works if turn % _BACKGROUND_EVERY == 0 else hurried
            works = [work for work in works if work not in due or self._take_turn(work)]

    def _give_up(self, work: _Stream | _Pass) -> None:
        if isinstance(work, _Stream):
            self._finish(work, "cancelled")
        elif work.result.set_running_or_notify_cancel():
            work.result.set_exception(UnavailableError("The server is shutting down."))

    def _take_turn(self, work: _Stream | _Pass) -> bool:
        """False when it is over."""
        if isinstance(work, _Stream):
            return self._advance(work)
        goes_on = work.step()
        with self._lock:
            self._open -= not goes_on
        return goes_on

    def _advance(self, stream: _Stream) -> bool:
        """One token more; False when the answer is complete."""
        if stream.cancelled.is_set():
            return self._finish(stream, "cancelled")
        sampling = stream.generation.sampling
        try:
            token = self._choose(stream)
        except Exception as error:
            if not isinstance(error, APIError):
                _log.exception("generation failed")
            stream.put(error)
            return self._finish(stream, "cancelled")
        if token.id in sampling.stop_ids:
            return self._finish(stream, "stop")
        stream.counts[token.id] += 1
        stream.next_ids = [token.id]
        stream.put(token)
        if stream.counts.total() >= sampling.max_tokens:
            return self._finish(stream, "length")
        return True

    def _choose(self, stream: _Stream) -> Token:
        sampling = stream.generation.sampling
        if sampling.grammar and stream.matcher is None:
            stream.matcher = Matcher(sampling.grammar, self._base, sampling.stop_ids)
        allowed = stream.matcher.allowed() if stream.matcher else None
        token = choose(self._logits(stream), sampling, stream.counts, stream.generator, allowed)
        if stream.matcher:
            stream.matcher.take(token.id)
        return token

    def _finish(self, stream: _Stream, reason: FinishReason) -> bool:
        stream.finish_reason = reason
        stream.put(None)
        with self._lock:
            self._open -= 1
        return False

    @torch.inference_mode()
    def _logits(self, stream: _Stream) -> torch.Tensor:
        self._use(stream.generation.adapter)
        ids = torch.tensor([stream.next_ids], device=self._device)
        made = self._model(input_ids=ids, past_key_values=stream.cache, use_cache=True, logits_to_keep=1)
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
