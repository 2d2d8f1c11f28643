"""Which vLLM replica takes a request: one that has its adapter, unless that one is overloaded.

Loading an adapter costs a request its time to first token, so requests for one adapter stay together; a replica that
runs far more than the others is passed over, so that a popular adapter spreads. For an adapter that none has,
rendezvous hashing orders the replicas: every API server names the same one, without knowing of the others.

Sources: Ray Serve's multi-LoRA routing, docs.ray.io/en/latest/serve/llm/user-guides/multi-lora.html; the bound on load,
Mirrokni et al., "Consistent Hashing with Bounded Loads", 2018.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

_LOAD_FACTOR = 1.25  # of the mean: what one replica may run before requests pass it over
_MIN_SLACK = 4  # generations above the mean that are never too many


@dataclass(frozen=True)
class ReplicaLoad:
    """`name`: the same on every API server. `running`: generations, those of this API server."""

    name: str
    running: int
    has_adapter: bool


def choose(replicas: Sequence[ReplicaLoad], adapter: str | None) -> int:
    """The index of the replica for one more generation; `adapter` None: of the base model. `replicas` is not empty."""
    mean = (sum(replica.running for replica in replicas) + 1) / len(replicas)
    most = max(math.ceil(_LOAD_FACTOR * mean), math.ceil(mean) + _MIN_SLACK)
    free = [index for index, replica in enumerate(replicas) if replica.running < most]
    if adapter is None:
        return min(free, key=lambda index: replicas[index].running)
    holders = [index for index in free if replicas[index].has_adapter]
    if holders:
        return min(holders, key=lambda index: replicas[index].running)
    return max(free, key=lambda index: _rank(adapter, replicas[index].name))


def _rank(adapter: str, replica: str) -> bytes:
    """Rendezvous hashing: the highest of an adapter's ranks is its home."""
    return hashlib.blake2b(f"{adapter}\0{replica}".encode(), digest_size=8).digest()
