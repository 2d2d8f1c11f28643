"""The scheduler: which sequences run in each step, with which tokens. Pure Python, no torch.

Continuous batching with chunked prefill: each step runs at most 512 prompt tokens plus one decode token per running
sequence, so a long prompt does not delay running sequences, nor do they delay a new one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from luthier.inference.memory.kv_cache import KVCache
from luthier.inference.memory.lora_slots import LoraSlots
from luthier.inference.memory.paged_cache import PagedCache
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.scheduling.fairness import due
from luthier.inference.scheduling.prefix_cache import PrefixCache, common_length
from luthier.inference.scheduling.prompt_task import PromptTask
from luthier.inference.scheduling.sequence import GenerationSequence
from luthier.inference.stats import EngineSnapshot, Throughput

MAX_RUNNING = 16  # sequences; more wait
_MAX_CACHE_BYTES = 1 << 30  # of all running sequences; a single one may exceed it
# A prefill chunk has at least two tokens: attention sums in another order for one query than for several, and neither
# the cut of a prompt nor the cached part of it must decide how logits are rounded.
_MIN_CHUNK = 2
# Tokens in common with a prompt that is being prefilled, above which waiting is better than computing them twice
_DEFER_TOKENS = 64


@dataclass(frozen=True)
class RunnerLimits:
    """The limits of a ModelRunner that the scheduler respects; see there."""

    context_tokens: int
    batched: bool = True
    max_prefills: int | None = 1
    prefill_tokens: int | None = 512

    @classmethod
    def of(cls, runner: ModelRunner) -> "RunnerLimits":
        return cls(runner.context_tokens, runner.batched, runner.max_prefills, runner.prefill_tokens)


@dataclass
class Step:
    """One step's work: a chunk for each of `sequences`, prompt tasks to advance, and sequences that failed so far."""

    tasks: list[PromptTask] = field(default_factory=list)
    sequences: list[GenerationSequence] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    failed: list[tuple[GenerationSequence, Exception]] = field(default_factory=list)

    def passes(self, batched: bool) -> "list[Step]":
        """The step's forward passes: one for all of its sequences, or one for each."""
        if batched:
            return [Step(sequences=self.sequences, chunks=self.chunks)] if self.chunks else []
        pairs = zip(self.sequences, self.chunks, strict=True)
        return [Step(sequences=[sequence], chunks=[chunk]) for sequence, chunk in pairs]

    def add(self, sequence: GenerationSequence, token_ids: Sequence[int]) -> None:
        past = len(sequence.computed)
        complete = sequence.decoding or past + len(token_ids) == len(sequence.request.prompt)
        self.sequences.append(sequence)
        self.chunks.append(
            Chunk(
                token_ids=token_ids,
                past=past,
                cache=sequence.cache,
                lora_slot=sequence.lora_slot,
                outputs=int(complete),
                decode=sequence.decoding,
                request=sequence.request,
                past_ids=sequence.computed,
                prompt_tokens=len(sequence.request.prompt),
            )
        )


class Scheduler:
    """Used by the engine loop's thread only."""

    def __init__(
        self,
        kv_cache: KVCache[Any, Any],
        lora_slots: LoraSlots[Any],
        prefix_cache: PrefixCache[Any],
        limits: RunnerLimits,
    ) -> None:
        self.kv_cache, self.prefix_cache, self.limits = kv_cache, prefix_cache, limits
        self._lora_slots = lora_slots
        self._works: list[GenerationSequence | PromptTask] = []
        self._running: list[GenerationSequence] = []
        self._step_number = 0

    @property
    def works(self) -> Sequence[GenerationSequence | PromptTask]:
        """All sequences, waiting and running, and all prompt tasks."""
        return self._works

    def snapshot(self, throughput: Throughput) -> EngineSnapshot:
        """The only method that other threads may call."""
        blocks = self.kv_cache.pool if isinstance(self.kv_cache, PagedCache) else None
        return EngineSnapshot(
            running=len(self._running),
            waiting=len(self._works) - len(self._running),
            adapters=self._lora_slots.loaded,
            kv_blocks=blocks.size if blocks else None,
            kv_blocks_free=blocks.free_blocks if blocks else None,
            throughput=throughput,
        )

    def add(self, work: GenerationSequence | PromptTask) -> None:
        self._works.append(work)

    def schedule(self) -> Step:
        self._step_number += 1
        works = due(self._works, self._step_number)
        step = Step(tasks=[work for work in works if isinstance(work, PromptTask)])
        sequences = [work for work in works if isinstance(work, GenerationSequence)]
        if self.limits.batched:
            self._schedule_batch(step, sequences)
        else:
            self._schedule_one_per_key(step, sequences)
        for sequence in step.sequences:
            sequence.last_step = self._step_number
        return step

    def commit(self, step: Step) -> list[GenerationSequence]:
        """After the runner has computed the step: the sequences to sample for, in the order of the output rows."""
        sampled = []
        for sequence, chunk in zip(step.sequences, step.chunks, strict=True):
            sequence.computed += chunk.token_ids
            if not chunk.outputs:
                continue
            sampled.append(sequence)
            if not sequence.decoding:
                sequence.decoding = True
                try:
                    self._store_prefix(sequence)
                except Exception as error:
                    step.failed.append((sequence, error))
        return sampled

    def remove(self, work: GenerationSequence | PromptTask) -> None:
        """End a sequence or task: store its computed tokens in the prefix cache, then free its cache."""
        self._works.remove(work)
        if not isinstance(work, GenerationSequence) or not work.admitted:
            return
        self._running.remove(work)
        work.admitted = False
        try:
            self._store_prefix(work)
        finally:
            handle, work.cache = work.cache, None
            self.kv_cache.free(handle)

    def lora_slot(self, adapter: Path | None) -> int | None:
        """Raises BaseModelError."""
        if adapter is None:
            return None
        in_use = [sequence.request.adapter for sequence in self._running if sequence.request.adapter]
        return self._lora_slots.acquire(adapter, in_use)

    @contextmanager
    def private_cache(self, tokens: int, prefix: tuple[Any, int] | None) -> Iterator[Any]:
        """A cache handle for a prompt task."""
        handle = self.kv_cache.allocate(tokens, prefix, private=True)
        try:
            yield handle
        finally:
            self.kv_cache.free(handle)

    def store_prefix(self, adapter: Path | None, token_ids: Sequence[int], handle: Any) -> None:
        if not self.prefix_cache.enabled:
            return
        count = len(token_ids)
        size = self.kv_cache.prefix_bytes(handle, count)
        self.prefix_cache.store(adapter, token_ids, size, lambda: self.kv_cache.save_prefix(handle, count))

    def _store_prefix(self, sequence: GenerationSequence) -> None:
        self.store_prefix(sequence.request.adapter, sequence.computed, sequence.cache)

    def _schedule_batch(self, step: Step, sequences: Sequence[GenerationSequence]) -> None:
        """Every decode token, then prefill chunks: of running sequences first, then of newly admitted ones."""
        for sequence in sequences:
            if sequence.decoding:
                step.add(sequence, sequence.uncomputed)
        budget = self.limits.prefill_tokens
        prefills = 0
        running = [sequence for sequence in sequences if sequence.admitted and not sequence.decoding]
        for sequence in [*running, *(sequence for sequence in sequences if not sequence.admitted)]:
            if prefills == self.limits.max_prefills or (budget is not None and budget < 2 * _MIN_CHUNK):
                return
            if sequence.admitted or self._admit(sequence, step):
                token_ids = _prefill_chunk(sequence, budget)
                step.add(sequence, token_ids)
                prefills += 1
                budget = None if budget is None else budget - len(token_ids)

    def _schedule_one_per_key(self, step: Step, sequences: Sequence[GenerationSequence]) -> None:
        """Schedule one sequence of each key, the least recently run first, so that many requests of one key do not
        slow down others."""
        scheduled: set[str] = set()
        for sequence in sorted(sequences, key=lambda sequence: sequence.last_step):
            if sequence.key not in scheduled and (sequence.admitted or self._admit(sequence, step)):
                scheduled.add(sequence.key)
                decoding = sequence.decoding
                step.add(
                    sequence, sequence.uncomputed if decoding else _prefill_chunk(sequence, self.limits.prefill_tokens)
                )

    def _admit(self, sequence: GenerationSequence, step: Step) -> bool:
        """Admit a sequence by allocating its cache; False if it must wait or has failed."""
        if not self._has_room(sequence):
            return False
        request = sequence.request
        prefix = self.prefix_cache.find(request.adapter, request.prompt)
        cached = prefix[1] if prefix else 0
        if self._prefix_is_being_computed(sequence, cached):
            return False
        try:
            sequence.lora_slot = self.lora_slot(request.adapter)
            sequence.cache = self.kv_cache.allocate(len(request.prompt), prefix, private=False)
        except Exception as error:
            step.failed.append((sequence, error))
            return False
        sequence.computed = request.prompt[:cached]
        sequence.stream.cached_tokens = cached
        sequence.admitted = True
        self._running.append(sequence)
        return True

    def _has_room(self, sequence: GenerationSequence) -> bool:
        """Whether the maximum length of all running sequences fits. A key without a running sequence gets twice the
        room, so that many requests of another key do not delay it.
        """
        factor = 1 if any(running.key == sequence.key for running in self._running) else 2
        if len(self._running) >= factor * MAX_RUNNING:
            return False
        requests = [running.request for running in (*self._running, sequence)]
        context = self.limits.context_tokens
        lengths = [min(len(request.prompt) + request.sampling.max_tokens, context) for request in requests]
        return len(requests) == 1 or self.kv_cache.required_bytes(lengths) <= factor * _MAX_CACHE_BYTES

    def _prefix_is_being_computed(self, sequence: GenerationSequence, cached: int) -> bool:
        """Whether a running prefill shares enough of the prompt for its prefix to be worth waiting for."""
        if not self.prefix_cache.enabled:
            return False
        request = sequence.request
        prompt = np.asarray(request.prompt[:-1], dtype=np.int32)
        prefills = [running.request for running in self._running if not running.decoding]
        prompts = [np.asarray(other.prompt, dtype=np.int32) for other in prefills if other.adapter == request.adapter]
        longest = max((common_length(prompt, other) for other in prompts), default=0)
        return longest - cached >= _DEFER_TOKENS


def _prefill_chunk(sequence: GenerationSequence, budget: int | None) -> Sequence[int]:
    """The next tokens of a prompt; never leaves fewer than `_MIN_CHUNK` for the next step."""
    rest = sequence.uncomputed
    if budget is None or len(rest) <= budget:
        return rest
    return rest[: min(budget, len(rest) - _MIN_CHUNK)]
