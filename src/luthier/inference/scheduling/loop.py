"""The engine loop: one thread that takes requests, runs scheduled steps on the model, samples and delivers tokens."""

import logging
import queue
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from luthier.inference.engine import EngineRequest, FinishReason, OnToken, Token
from luthier.inference.model_runner import ModelRunner
from luthier.inference.scheduling.fairness import AdmissionControl
from luthier.inference.scheduling.prompt_task import PromptTask
from luthier.inference.scheduling.sampler import TokenSampler
from luthier.inference.scheduling.scheduler import Scheduler, Step
from luthier.inference.scheduling.scoring import PromptPasses
from luthier.inference.scheduling.sequence import GenerationSequence
from luthier.inference.stats import EngineSnapshot, Throughput
from luthier.inference.stream import GenerationStream
from luthier.types.errors import APIError, UnavailableError

_log = logging.getLogger(__name__)
Work = GenerationSequence | PromptTask


class EngineLoop:
    """Implements Engine: the scheduler decides what runs, and the runner computes the logits."""

    def __init__(self, base: Path, runner: ModelRunner, scheduler: Scheduler, max_requests_per_key: int) -> None:
        """`base`: the model folder; `max_requests_per_key`: open requests of one key."""
        self.context_tokens, self.eight_bits = runner.context_tokens, runner.eight_bits
        self.runner, self.scheduler = runner, scheduler
        self._base, self._passes = base, PromptPasses(scheduler, runner)
        self._inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._admission = AdmissionControl(max_requests_per_key)
        self._closed, self._lock, self._throughput = False, threading.Lock(), Throughput()
        self._thread = threading.Thread(target=self._run, name="luthier-engine", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def submit(self, request: EngineRequest, on_token: OnToken | None = None) -> GenerationStream:
        stream, sampler = GenerationStream(on_token), TokenSampler(request.sampling, self._base)
        self._enqueue(GenerationSequence(request=request, stream=stream, sampler=sampler))
        return stream

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        return self._enqueue_task(self._passes.embeddings(prompts, adapter))

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        return self._enqueue_task(self._passes.scores(prompt, adapter, top, start))

    def snapshot(self) -> EngineSnapshot:
        """May be called from any thread; the numbers may be one step old."""
        return self.scheduler.snapshot(self._throughput)

    def close(self) -> None:
        """Cancels everything, waits for the thread to end and frees the model."""
        with self._lock:
            self._closed = True
            self._inbox.put(None)
        self._thread.join()

    def _enqueue_task(self, passes: Generator[None, None, Any]) -> "Future[Any]":
        task = PromptTask(passes, self._admission.release)
        self._enqueue(task)
        return task.result

    def _enqueue(self, work: Work) -> None:
        """Raises RateLimitError, UnavailableError."""
        with self._lock:
            if self._closed:
                raise UnavailableError("The server is shutting down.")
            work.key = self._admission.acquire()
            self._inbox.put(work)

    def _run(self) -> None:
        with self.runner.thread_context():
            while self._receive():
                self._cancel()
                step = self.scheduler.schedule()
                for task in step.tasks:
                    if not task.advance():
                        self.scheduler.remove(task)
                self._generate(step)
            for work in list(self.scheduler.works):
                if isinstance(work, GenerationSequence):
                    self._finish(work, "cancelled")
                else:
                    work.abort()

    def _receive(self) -> bool:
        """Receive new work, waiting if there is none. False if the engine is closed."""
        while not self.scheduler.works or not self._inbox.empty():
            work = self._inbox.get()
            if work is None:
                return False
            self.scheduler.add(work)
        return True

    def _cancel(self) -> None:
        for work in list(self.scheduler.works):
            if isinstance(work, GenerationSequence) and work.stream.cancelled.is_set():
                self._finish(work, "cancelled")

    def _generate(self, step: Step) -> None:
        """Runs the step's forward passes and samples a token for each sequence with logits."""
        self._fail_all(step.failed)
        for forward_pass in step.passes(self.scheduler.limits.batched):
            try:
                logits = self.runner.run(forward_pass.chunks)
            except Exception as error:  # the error cannot be attributed to a single sequence of the pass
                self._fail_all([(sequence, error) for sequence in forward_pass.sequences])
                continue
            sampled = self.scheduler.commit(forward_pass)
            self._fail_all(forward_pass.failed)
            for sequence, row in zip(sampled, logits, strict=True):
                if sequence.stream.finish_reason is None:
                    self._sample(sequence, row)

    def _sample(self, sequence: GenerationSequence, logits: np.ndarray) -> None:
        """logits float32 [V]"""
        sampling = sequence.request.sampling
        try:
            token = sequence.sampler.sample(logits)
        except Exception as error:
            self._fail(sequence, error)
            return
        if token.id in sampling.stop_ids:
            self._finish(sequence, "length" if sequence.sampler.closed_early else "stop")
            return
        sequence.append(token.id)
        self._count(sequence)
        sequence.stream.deliver(token)
        if sequence.generated >= sampling.max_tokens:
            self._finish(sequence, "length")

    def _count(self, sequence: GenerationSequence) -> None:
        self._throughput.generated_tokens += 1
        if sequence.generated == 1:
            self._throughput.prompt_tokens += len(sequence.request.prompt)
            self._throughput.cached_tokens += sequence.stream.cached_tokens
            self._throughput.time_to_first_token.observe(monotonic() - sequence.submitted_at)

    def _fail_all(self, failures: Sequence[tuple[GenerationSequence, Exception]]) -> None:
        for sequence, error in failures:
            self._fail(sequence, error)

    def _fail(self, sequence: GenerationSequence, error: Exception) -> None:
        if not isinstance(error, APIError):
            _log.error("generation failed", exc_info=error)
        self._finish(sequence, "cancelled", error)

    def _finish(self, sequence: GenerationSequence, reason: FinishReason, error: Exception | None = None) -> None:
        try:
            self.scheduler.remove(sequence)
        except Exception:  # for example out of memory for the prefix; the caller must still receive the end
            _log.exception("a finished sequence could not be stored in the prefix cache")
        sequence.stream.finish_reason = reason
        self._admission.release(sequence.key)  # first: a caller that has received the end may submit again at once
        sequence.stream.deliver(error)
