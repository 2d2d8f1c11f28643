"""vLLM servers with the same base model, each with its adapters and state, and the choice among them.

A replica that refuses a connection, or that a probe of `/health` finds down or draining, gets no new generations until
a later probe succeeds. It may have restarted by then, so its adapters are loaded again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from luthier.inference.engines.vllm.adapters import VllmAdapters
from luthier.inference.engines.vllm.routing import ReplicaLoad, choose
from luthier.types.errors import BaseModelError, UnavailableError

_PROBE_S = 2.0
_PROBE_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


class VllmReplica:
    """Used in the event loop of the engine only. `running`: generations and scorings; `is_up`: it takes new ones."""

    def __init__(self, client: httpx.AsyncClient, base: Path, max_loras: int, *, is_own: bool) -> None:
        """`is_own`: started by this process, for `base`."""
        self.client, self.running, self.is_up = client, 0, False
        self._base, self._max_loras, self._is_own = base, max_loras, is_own
        self.adapters: VllmAdapters  # with `connect`, as `context_tokens`

    @property
    def name(self) -> str:
        return str(self.client.base_url)

    async def connect(self) -> None:
        """Raises BaseModelError if it cannot be reached or serves another model."""
        model, context_tokens = await _served_model(self.client, self._base, is_own=self._is_own)
        self.context_tokens = context_tokens
        self.adapters = VllmAdapters(self.client, model, self._max_loras)
        self.is_up = True

    def load(self, adapter: Path | None) -> ReplicaLoad:
        return ReplicaLoad(self.name, self.running, adapter is not None and self.adapters.has(adapter))

    async def probe(self) -> None:
        """Check the replica, and enable or disable it."""
        try:
            response = await self.client.get("/health", timeout=_PROBE_TIMEOUT_S)
            response.raise_for_status()
            if not self.is_up:
                await self.connect()
                _log.warning("vLLM at %s answers again", self.name)
        except (httpx.HTTPError, BaseModelError) as error:
            self.mark_down(error)

    def mark_down(self, error: Exception) -> None:
        if self.is_up:
            _log.warning("vLLM at %s gets no new requests: %s", self.name, error or type(error).__name__)
        self.is_up = False


class ReplicaPool:
    """Used in the event loop of the engine only."""

    def __init__(self, replicas: Sequence[VllmReplica]) -> None:
        self.replicas = replicas

    async def connect(self) -> int:
        """Returns the smallest context of the replicas, in tokens. Raises BaseModelError if one serves another model,
        or none can be reached.
        """
        outcomes = await asyncio.gather(*(replica.connect() for replica in self.replicas), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in errors:
            if len(errors) == len(outcomes) or not isinstance(error, ReplicaUnreachableError):
                raise error
            _log.warning("%s", error)
        return min(replica.context_tokens for replica in self.replicas if replica.is_up)

    async def watch(self) -> None:
        """Probes all replicas until it is cancelled."""
        while True:
            await asyncio.sleep(_PROBE_S)
            await asyncio.gather(*(replica.probe() for replica in self.replicas))

    @asynccontextmanager
    async def replica(
        self, adapter: Path | None, excluding: Collection[VllmReplica] = ()
    ) -> AsyncIterator[VllmReplica]:
        """The replica for one generation, counted inside the context. Raises UnavailableError when none is up."""
        candidates = [replica for replica in self.replicas if replica.is_up and replica not in excluding]
        if not candidates:
            raise UnavailableError(
                f"None of {len(self.replicas)} vLLM servers can be reached. Please try again.",
                code="engine_unreachable",
            )
        loads = [candidate.load(adapter) for candidate in candidates]
        replica = candidates[choose(loads, adapter.name if adapter else None)]
        replica.running += 1
        try:
            yield replica
        finally:
            replica.running -= 1

    async def close(self) -> None:
        await asyncio.gather(*(replica.client.aclose() for replica in self.replicas))


class ReplicaUnreachableError(BaseModelError):
    """No vLLM answers at an address."""


async def _served_model(client: httpx.AsyncClient, base: Path, *, is_own: bool) -> tuple[str, int]:
    """The name of the server's model and its context in tokens. Raises BaseModelError."""
    try:
        response = await client.get("/v1/models")
        response.raise_for_status()
        model: dict[str, Any] = next(model for model in response.json()["data"] if not model.get("parent"))
        root, name, context_tokens = str(model.get("root") or model["id"]), str(model["id"]), model["max_model_len"]
    except (httpx.HTTPError, StopIteration, ValueError, KeyError, TypeError) as error:
        raise ReplicaUnreachableError(
            f"No vLLM answers at {client.base_url}: {error or type(error).__name__}. Check LUTHIER_VLLM_URL and "
            "LUTHIER_VLLM_API_KEY, or leave them out to have one started."
        ) from error
    if not is_own and root != str(base) and Path(root).name.lower() not in base.name.lower():
        raise BaseModelError(
            f"vLLM at {client.base_url} serves {root}, not {base.name}. Start it with `vllm serve {base}`."
        )
    return name, int(context_tokens)
