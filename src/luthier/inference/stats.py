"""Statistics of an engine, for monitoring."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

TTFT_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class Histogram:
    """`counts[i]`: number of values up to `bounds[i]` and above the previous bound; the last count is that of all
    larger values."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Throughput:
    """Counters since the engine started, written only by its thread; reading them concurrently is harmless."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    time_to_first_token: Histogram = field(default_factory=lambda: Histogram(TTFT_BOUNDS_S))


@dataclass(frozen=True)
class EngineSnapshot:
    """`kv_blocks` counts all blocks of the paged KV cache, None for a cache without blocks."""

    running: int
    waiting: int
    adapters: int
    kv_blocks: int | None
    kv_blocks_free: int | None
    throughput: Throughput


@runtime_checkable
class Measured(Protocol):
    """An engine that reports its numbers."""

    def snapshot(self) -> EngineSnapshot: ...
