"""Embeddings and scores of prompts: generators that run one forward pass per step, between decode steps."""

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from luthier.inference.engine import Token
from luthier.inference.logprobs import unit_vector
from luthier.inference.model_runner import Chunk, ModelRunner
from luthier.inference.scheduling.scheduler import Scheduler

_OUTPUT_TOKENS = 256  # tokens whose outputs, logits [N, V], are in memory at once
_PREFILL_TOKENS = 512  # tokens without outputs per pass


class PromptPasses:
    """Passes over prompts with private caches, using a runner and the memory of a scheduler."""

    def __init__(self, scheduler: Scheduler, runner: ModelRunner) -> None:
        self._scheduler, self._runner = scheduler, runner

    def embeddings(
        self, prompts: Sequence[list[int]], adapter: Path | None
    ) -> Generator[None, None, list[list[float]]]:
        """For each prompt float [D] of length 1: the mean of the last hidden states over its tokens."""
        vectors: dict[int, list[float]] = {}
        for batch in _batches(prompts):
            if len(batch) == 1:
                vectors[batch[0]] = yield from self._embedding(prompts[batch[0]], adapter)
                continue
            states = self._short_prompts([prompts[index] for index in batch], adapter)
            ends = np.cumsum([len(prompts[index]) for index in batch])[:-1]
            for index, rows in zip(batch, np.split(states, ends), strict=True):
                vectors[index] = unit_vector(rows.mean(0))
            yield
        return [vectors[index] for index in range(len(prompts))]

    def _short_prompts(self, prompts: Sequence[list[int]], adapter: Path | None) -> np.ndarray:
        """The last hidden states [N, D] of several prompts, in one pass."""
        slot, cache = self._scheduler.lora_slot(adapter), self._scheduler.kv_cache
        handles = [cache.allocate(len(prompt), None, private=True) for prompt in prompts]
        try:
            return self._runner.run(
                [Chunk(ids, 0, handle, slot, len(ids)) for ids, handle in zip(prompts, handles, strict=True)],
                hidden=True,
            )
        finally:
            for handle in handles:
                cache.free(handle)

    def _embedding(self, prompt: list[int], adapter: Path | None) -> Generator[None, None, list[float]]:
        total = np.zeros(1, np.float32)
        with self._scheduler.private_cache(len(prompt), None) as handle:
            for past in range(0, len(prompt), _OUTPUT_TOKENS):
                ids = prompt[past : past + _OUTPUT_TOKENS]
                slot = self._scheduler.lora_slot(adapter)
                chunk = Chunk(ids, past, handle, slot, len(ids), past_ids=prompt, prompt_tokens=len(prompt))
                total = total + self._runner.run([chunk], hidden=True).sum(0)
                yield
        return unit_vector(total / len(prompt))

    def scores(
        self, prompt: list[int], adapter: Path | None, top: int, start: int
    ) -> Generator[None, None, list[Token]]:
        """The tokens `prompt[start:]` with their log-probabilities. Reuses and stores the prefix before them."""
        scheduler = self._scheduler
        tokens: list[Token] = []
        prefix = scheduler.prefix_cache.find(adapter, prompt[:start])
        past = cached = prefix[1] if prefix else 0
        with scheduler.private_cache(len(prompt), prefix) as handle:
            while len(tokens) < len(prompt) - start:
                size = _PREFILL_TOKENS if past + _PREFILL_TOKENS < start else _OUTPUT_TOKENS
                end = min(past + size, len(prompt) - 1)  # nothing follows the last token
                outputs = max(0, min(end - past, end + 1 - start))
                slot = scheduler.lora_slot(adapter)
                chunk = Chunk(
                    *(prompt[past:end], past, handle, slot, outputs), past_ids=prompt, prompt_tokens=len(prompt)
                )
                tokens += self._runner.logprobs(chunk, prompt[end + 1 - outputs : end + 1], top)
                past = end
                yield
            if tokens and 2 * cached < start - 1:  # otherwise most of it is cached already
                scheduler.store_prefix(adapter, prompt[: start - 1], handle)
        return tokens


def _batches(prompts: Sequence[list[int]]) -> list[list[int]]:
    """Indices of prompts that share a pass: of similar lengths, together at most `_OUTPUT_TOKENS`."""
    batches: list[list[int]] = []
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    longest = 0
    for index in order:
        if batches and (len(batches[-1]) + 1) * longest <= _OUTPUT_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = len(prompts[index])
    return batches
