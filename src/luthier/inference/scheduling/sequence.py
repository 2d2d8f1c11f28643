"""One sequence from submission to its end, as the scheduler and the engine loop see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from luthier.inference.engine import EngineRequest
from luthier.inference.scheduling.fairness import fairness_key, low_priority
from luthier.inference.scheduling.sampler import TokenSampler
from luthier.inference.stream import GenerationStream


@dataclass(eq=False, kw_only=True)
class GenerationSequence:
    """A sequence waits until it is admitted, then runs: first prefill, then `decoding`.

    `computed`: tokens whose keys and values are in the cache; `pending`: the sampled token, once decoding.
    """

    request: EngineRequest
    stream: GenerationStream
    sampler: TokenSampler
    key: str = field(default_factory=fairness_key.get)
    low_priority: bool = field(default_factory=low_priority.get)
    admitted: bool = False
    decoding: bool = False
    cache: Any = None  # the handle in the runner's KV cache
    lora_slot: int | None = None
    computed: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    generated: int = 0
    last_step: int = 0  # the last step that ran it
    submitted_at: float = field(default_factory=monotonic)

    @property
    def uncomputed(self) -> Sequence[int]:
        return self.pending if self.decoding else self.request.prompt[len(self.computed) :]

    def append(self, token: int) -> None:
        """Append a sampled token, whose keys and values the next step computes."""
        self.pending = [token]
        self.generated += 1
