"""Which vLLM replica takes a request: one that has its adapter, unless that one is overloaded.

Loading an adapter costs a request its time to first token, so requests for one adapter stay together; a replica with a
much higher load than the others is skipped, so that a popular adapter spreads. For an adapter that no replica has
loaded, rendezvous hashing orders the replicas: every API server selects the same one without communication.

Sources: Ray Serve's multi-LoRA routing, docs.ray.io/en/latest/serve/llm/user-guides/multi-lora.html; the bound on load,
Mirrokni et al., "Consistent Hashing with Bounded Loads", 2018.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

_LOAD_FACTOR = 1.25  # relative to the mean: the load above which a replica is skipped
_MIN_SLACK = 4  # generations above the mean that are always allowed


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
    """Rendezvous hashing: an adapter's home is the replica with the highest rank."""
    return hashlib.blake2b(f"{adapter}\0{replica}".encode(), digest_size=8).digest()
