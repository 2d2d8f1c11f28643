"""ModelRunner: forward passes of one base model. An in-process engine implements this and nothing else.

The engine loop owns scheduling, sampling and delivery; a runner only turns token ids into logits. Imports no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.inference.engine import EngineRequest, Token
from luthier.inference.logprobs import token_logprobs
from luthier.inference.memory.kv_cache import KVCache
from luthier.inference.memory.lora_slots import LoraSlots


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one sequence that a step computes: a piece of a prompt, or the last sampled token.

    `past`: tokens before them, whose keys and values are in the cache. `cache`: the sequence's handle in the runner's
    KV cache. `outputs`: how many of the last tokens need a row of output. `request`: None for scoring and embeddings.
    `past_ids`: at least the tokens before them, for a runner that must recompute those. `prompt_tokens`: the length of
    the whole prompt, of which later chunks may follow; 0 if this chunk is all of it.
    """

    token_ids: Sequence[int]
    past: int
    cache: Any
    lora_slot: int | None
    outputs: int
    decode: bool = False
    request: EngineRequest | None = None
    past_ids: Sequence[int] = ()
    prompt_tokens: int = 0


class ModelRunner(ABC):
    """Only called from the engine loop's thread."""

    context_tokens: int
    kv_cache: KVCache[Any, Any]
    adapters: LoraSlots[Any]

    eight_bits = False  # whether the base's weights are rounded to 8 bits
    batched = True  # a pass serves several sequences at once; otherwise one sequence of each key runs per step
    max_prefills: int | None = 1  # prompts that one step may prefill; None: any number
    prefill_tokens: int | None = 512  # of all prefill chunks of a step; None: a prompt is never cut
    prefix_caching = True  # whether the KV cache can keep and reuse prefixes

    @abstractmethod
    def run(self, chunks: Sequence[Chunk], hidden: bool = False) -> np.ndarray:
        """Run one forward pass over all chunks, and write their keys and values to the cache.

        Returns float32 logits [N, V], or with `hidden` the last hidden states [N, D], for the `outputs` of the chunks
        in their order; valid until the next call. At most `max_prefills` chunks are prefills; with `hidden`, all are.
        """

    def logprobs(self, chunk: Chunk, targets: Sequence[int], top: int) -> list[Token]:
        """Runs one chunk; its outputs predict `targets`, one each. A runner may compute this on its own device."""
        logits = self.run([chunk])
        return token_logprobs(logits[: len(targets)], targets, top)

    def thread_context(self) -> AbstractContextManager[object]:
        """Entered by the engine thread for as long as it runs."""
        return nullcontext()
