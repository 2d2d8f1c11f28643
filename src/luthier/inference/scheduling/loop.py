"""What engines on this machine share: a queue, one thread that owns the model, and answers that take turns.

An engine says how answers under way get one token more; who waits, who may go first, who has gone away and when an
answer is over is decided here.
"""

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch

from luthier.inference.engine import FinishReason, Generation, OnToken, in_background
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.fairness import Admission, in_turn
from luthier.inference.scheduling.sampler import choose
from luthier.inference.scheduling.structured_output import Matcher
from luthier.inference.stream import GenerationStream
from luthier.types.errors import APIError, UnavailableError

_log = logging.getLogger(__name__)
_BACKGROUND_EVERY = 8  # rounds: so often work that is in no hurry gets a turn while other work waits


class Stream(GenerationStream):
    """One answer under way, with the engine's own state of it."""

    def __init__(self, generation: Generation, on_token: OnToken | None = None) -> None:
        super().__init__(generation, on_token)
        self.background = in_background.get()
        self.key = ""  # whose it is
        self.turn = 0  # the last round in which an engine that takes one after the other took it
        self.next_ids = generation.prompt
        self.counts: Counter[int] = Counter()
        self.matcher: Matcher | None = None
        self.state: Any = None  # the engine's own
        self.generator = torch.Generator()
        if generation.sampling.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(generation.sampling.seed % 2**63)


class Pass:
    """Forward passes that make no answer: a generator that is taken a step at a time; `result` waits for its value."""

    def __init__(self, steps: Generator[None, None, Any]) -> None:
        self._steps, self.result, self.background = steps, Future[Any](), in_background.get()
        self.key = ""

    def step(self, leave: Callable[[str], None]) -> bool:
        """False when it is over, or nobody waits for it any more; its place is given back before that is heard."""
        try:
            if not self.result.cancelled():
                next(self._steps)
                return True
            self._steps.close()
            leave(self.key)
        except StopIteration as end:
            leave(self.key)
            if self.result.set_running_or_notify_cancel():
                self.result.set_result(end.value)
        except Exception as error:
            _log.exception("a forward pass failed")
            leave(self.key)
            if self.result.set_running_or_notify_cancel():
                self.result.set_exception(error)
        return False


Work = TypeVar("Work", Stream, Pass)


class Turns(ABC):
    """Call `start` when the model is ready."""

    def __init__(self, base: Path, options: EngineOptions) -> None:
        self._base, self._options = base, options
        self._waiting: queue.SimpleQueue[Stream | Pass | None] = queue.SimpleQueue()
        self._admission = Admission(options.queue_limit)
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="luthier-engine", daemon=True)

    @abstractmethod
    def advance(self, due: list[Stream]) -> None:
        """Work on answers, none of them cancelled: up to one token more for each, told by `chosen` or `failed`.

        `due` is in the order in which they may go first, see `in_turn`.
        """

    def forget(self, stream: Stream) -> None:
        """An answer is over: let go of what was kept for it."""
        stream.state = None

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def start(self) -> None:
        self._thread.start()

    def submit(self, generation: Generation, on_token: OnToken | None = None) -> Stream:
        return self.queued(lambda: Stream(generation, on_token))

    def queued(self, make: Callable[[], Work]) -> Work:
        """Raises RateLimitError, UnavailableError."""
        with self._lock:
            if self._closed:
                raise UnavailableError("The server is shutting down.")
            key = self._admission.enter()
            work = make()
            work.key = key
            self._waiting.put(work)
        return work

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def chosen(self, stream: Stream, logits: torch.Tensor) -> None:
        """The next token of an answer, from logits float [V]."""
        sampling = stream.generation.sampling
        try:
            if sampling.grammar and stream.matcher is None:
                stream.matcher = Matcher(sampling.grammar, self._base, sampling.stop_ids)
            allowed = stream.matcher.allowed() if stream.matcher else None
            token = choose(logits, sampling, stream.counts, stream.generator, allowed)
            if stream.matcher:
                stream.matcher.take(token.id)
        except Exception as error:
            self.failed(stream, error)
            return
        if token.id in sampling.stop_ids:
            self._finish(stream, "stop")
            return
        stream.counts[token.id] += 1
        stream.next_ids = [token.id]
        stream.deliver(token)
        if stream.counts.total() >= sampling.max_tokens:
            self._finish(stream, "length")

    def failed(self, stream: Stream, error: Exception) -> None:
        if not isinstance(error, APIError):
            _log.error("generation failed", exc_info=error)
        self._finish(stream, "cancelled", error)

    @torch.inference_mode()
    def _run(self) -> None:
        works: list[Stream | Pass] = []
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
            ended = self._round(in_turn(works if turn % _BACKGROUND_EVERY == 0 else hurried))
            works = [work for work in works if work not in ended]

    def _round(self, due: list[Stream | Pass]) -> list[Stream | Pass]:
        """A turn for each; those that are over."""
        ended: list[Stream | Pass] = []
        streams = []
        for work in due:
            if isinstance(work, Stream):
                streams.append(work)
            elif not work.step(self._admission.leave):
                ended.append(work)
        for stream in streams:
            if stream.cancelled.is_set():
                self._finish(stream, "cancelled")
        going = [stream for stream in streams if stream.finish_reason is None]
        try:
            self.advance(going)
        except Exception as error:  # nobody knows whose fault it was
            for stream in going:
                if stream.finish_reason is None:
                    self.failed(stream, error)
        return ended + [stream for stream in streams if stream.finish_reason]

    def _give_up(self, work: Stream | Pass) -> None:
        if isinstance(work, Stream):
            self._finish(work, "cancelled")
        elif work.result.set_running_or_notify_cancel():
            work.result.set_exception(UnavailableError("The server is shutting down."))

    def _finish(self, stream: Stream, reason: FinishReason, error: Exception | None = None) -> None:
        try:
            self.forget(stream)
        except Exception:  # no memory to keep what was read, say: whoever waits for the answer must hear its end
            _log.exception("what an answer has left could not be kept")
        stream.finish_reason = reason
        self._admission.leave(stream.key)  # first: who has heard the end of an answer may ask again at once
        stream.deliver(error)
