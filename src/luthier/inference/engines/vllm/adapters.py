"""Adapters in a vLLM server: loaded at run time on first use, unloaded in LRU order."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from luthier.inference.engines.vllm import protocol
from luthier.types.errors import BaseModelError


class VllmAdapters:
    """Used in the event loop of the engine only."""

    def __init__(self, client: httpx.AsyncClient, base_model: str, max_loras: int) -> None:
        """`base_model`: the name under which the server has the base model."""
        self._client, self._base_model, self._max_loras = client, base_model, max_loras
        self._names: dict[Path, str] = {}  # least recently used first
        self._uses: Counter[Path] = Counter()
        self._lock = asyncio.Lock()

    def has(self, adapter: Path) -> bool:
        return adapter in self._names

    @asynccontextmanager
    async def model_name(self, adapter: Path | None) -> AsyncIterator[str]:
        """The model to request; the adapter stays loaded inside the context. Raises BaseModelError."""
        if adapter is None:
            yield self._base_model
            return
        self._uses[adapter] += 1
        try:
            async with self._lock:
                if adapter not in self._names:
                    await self._load(adapter)
                name = self._names[adapter] = self._names.pop(adapter)
            yield name
        finally:
            self._uses[adapter] -= 1

    def forget(self, adapter: Path | None) -> bool:
        """Forget an adapter that a restarted server has lost. False if it was not loaded."""
        return adapter is not None and self._names.pop(adapter, None) is not None

    async def _load(self, adapter: Path) -> None:
        files = "adapter_config.json", "adapter_model.safetensors"
        missing = next((name for name in files if not (adapter / name).exists()), None)
        if missing:
            raise BaseModelError(f"The adapter cannot be read: it has no {missing}.")
        idle = [path for path in self._names if not self._uses[path]]
        for path in idle[: max(0, len(self._names) + 1 - self._max_loras)]:
            await self._client.post("/v1/unload_lora_adapter", json={"lora_name": self._names.pop(path)})
        name = protocol.adapter_name(adapter)
        body = {"lora_name": name, "lora_path": str(adapter)}
        response = await self._client.post("/v1/load_lora_adapter", json=body)
        if response.status_code == 404 and "adapter" not in response.text:
            raise BaseModelError(
                "vLLM loads no adapters at run time: start it with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
            )
        if not response.is_success and "already been loaded" not in response.text:
            error = protocol.api_error(500, protocol.parse(response.content))
            raise BaseModelError(f"vLLM cannot load the adapter: {error}")
        self._names[adapter] = name
