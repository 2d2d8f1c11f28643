"""The engine that asks a vLLM server: one started here for the base, or one that an operator points at.

vLLM batches, caches prefixes and samples; adapters are loaded into it when they are first asked for and unloaded
longest unused first. Closing the stream of an answer cancels it there.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx

from luthier.inference.engine import FinishReason, Generation, OnToken, Token
from luthier.inference.engines.vllm import protocol
from luthier.inference.engines.vllm.server import VllmServer
from luthier.inference.pool import EngineOptions
from luthier.inference.scheduling.fairness import Admission
from luthier.inference.stream import GenerationStream
from luthier.types.errors import APIError, BadRequestError, BaseModelError, UnavailableError


class VllmStream(GenerationStream):
    """One generation that vLLM computes. It sends `cached_tokens` at the end."""

    def __init__(self, generation: Generation, on_token: OnToken | None, release: Callable[[], None]) -> None:
        """`release` frees the place in the queue; it is called once, before the end is delivered."""
        super().__init__(generation, on_token)
        self._release, self._lock = release, threading.Lock()
        self.work: Future[None] | None = None

    def finish(self, reason: FinishReason, error: Exception | None = None) -> None:
        """Later calls do nothing."""
        with self._lock:
            if self.finish_reason is not None:
                return
            self._release()
            self.finish_reason = reason
        self.deliver(error)

    def cancel(self) -> None:
        super().cancel()
        if self.work:
            self.work.cancel()


class VllmEngine:
    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError when vLLM cannot be started or reached, or serves another model."""
        self._most, self._admission = options.adapters_in_memory, Admission(options.queue_limit)
        self._server = None if options.vllm.url else VllmServer(base, options)
        url = options.vllm.url.rstrip("/").removesuffix("/v1") if options.vllm.url else self._server.url  # type: ignore[union-attr]
        key = self._server.key if self._server else options.vllm.api_key
        self._adapters: dict[Path, str] = {}  # longest unused first
        self._busy: Counter[Path] = Counter()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="luthier-vllm", daemon=True)
        self._thread.start()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=httpx.Timeout(600, connect=10), trust_env=self._server is None
        )
        self._loading = asyncio.Lock()
        found = _look(self._client, base, ours=self._server is not None)
        try:
            self._model: str
            self.context_tokens: int
            self._model, self.context_tokens = self._run(found).result()
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def submit(self, generation: Generation, on_token: OnToken | None = None) -> VllmStream:
        key = self._enter()
        stream = VllmStream(generation, on_token, lambda: self._admission.leave(key))
        stream.work = self._run(self._answer(stream))
        stream.work.add_done_callback(lambda _: stream.finish("cancelled"))  # cancelled before its first step
        if stream.cancelled.is_set():  # by its callback, before `work` was set
            stream.work.cancel()
        return stream

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        key = self._enter()
        scoring = self._run(self._score(prompt, adapter, top, start))
        scoring.add_done_callback(lambda _: self._admission.leave(key))
        return scoring

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        raise BadRequestError(
            "The engine vllm makes no embeddings of a base model. Its operator can set LUTHIER_EMBEDDING_MODEL.",
            code="embeddings_not_available",
        )

    def close(self) -> None:
        self._closed = True
        if self._loop.is_running():
            self._run(self._end()).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if self._server:
            self._server.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _enter(self) -> str:
        """Raises RateLimitError, UnavailableError."""
        if self._closed:
            raise UnavailableError("The server is shutting down.")
        return self._admission.enter()

    async def _end(self) -> None:
        """Every answer under way is cancelled and says so."""
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()

    async def _answer(self, stream: VllmStream) -> None:
        try:
            stream.finish(await self._tokens(stream))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            stream.finish("cancelled", _unreachable(error))
        except (APIError, BaseModelError) as error:
            stream.finish("cancelled", error)
        finally:
            stream.finish("cancelled")

    async def _tokens(self, stream: VllmStream) -> FinishReason:
        adapter = stream.generation.adapter
        async with _Used(self, adapter) as model:
            body = protocol.request(stream.generation, model)
            async with self._client.stream("POST", "/v1/completions", json=body) as answer:
                if answer.is_success:
                    return await self._read(stream, answer)
                error = protocol.trouble(answer.status_code, _json(await answer.aread()))
        if answer.status_code == 404 and adapter in self._adapters:  # it was started anew, and knows none
            del self._adapters[adapter]
            return await self._tokens(stream)
        raise error

    async def _read(self, stream: VllmStream, answer: httpx.Response) -> FinishReason:
        reason: FinishReason | None = None
        async for line in answer.aiter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data and data != "[DONE]":
                reason = self._take(stream, json.loads(data)) or reason
        if reason is None:
            raise UnavailableError("vLLM ended an answer in the middle.")
        return reason

    def _take(self, stream: VllmStream, chunk: dict[str, Any]) -> FinishReason | None:
        if "error" in chunk:
            raise protocol.trouble(500, chunk)
        sampling = stream.generation.sampling
        details = (chunk.get("usage") or {}).get("prompt_tokens_details") or {}
        stream.cached_tokens = details.get("cached_tokens") or stream.cached_tokens
        for choice in chunk["choices"]:
            for token in protocol.tokens(choice, sampling.top_logprobs):
                if token.id not in sampling.stop_ids:
                    stream.deliver(token)
            if choice.get("finish_reason"):
                return "stop" if choice["finish_reason"] == "stop" else "length"
        return None

    async def _score(self, prompt: list[int], adapter: Path | None, top: int, start: int) -> list[Token]:
        try:
            async with _Used(self, adapter) as model:
                body = protocol.score_request(prompt, model, top)
                answer = await self._client.post("/v1/completions", json=body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if not answer.is_success:
            raise protocol.trouble(answer.status_code, _json(answer.content))
        return protocol.scored(prompt, answer.json()["choices"][0], top, start)

    async def use(self, adapter: Path | None) -> str:
        """The name of the base, or of an adapter, loaded if need be. Raises BaseModelError."""
        if adapter is None:
            return self._model
        self._busy[adapter] += 1
        try:
            async with self._loading:
                if adapter not in self._adapters:
                    await self._load(adapter)
                name = self._adapters[adapter] = self._adapters.pop(adapter)
                return name
        except BaseException:
            self.leave(adapter)
            raise

    def leave(self, adapter: Path | None) -> None:
        if adapter is not None:
            self._busy[adapter] -= 1

    async def _load(self, adapter: Path) -> None:
        missing = [
            name for name in ("adapter_config.json", "adapter_model.safetensors") if not (adapter / name).exists()
        ]
        if missing:
            raise BaseModelError(f"The adapter cannot be read: it has no {missing[0]}.")
        idle = [path for path in self._adapters if not self._busy[path]]
        for oldest in idle[: max(0, len(self._adapters) + 1 - self._most)]:
            await self._client.post("/v1/unload_lora_adapter", json={"lora_name": self._adapters.pop(oldest)})
        name = protocol.adapter_name(adapter)
        answer = await self._client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(adapter)})
        if answer.status_code == 404 and "adapter" not in answer.text:
            raise BaseModelError(
                "vLLM loads no adapters at run time: start it with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
            )
        if not answer.is_success and "already been loaded" not in answer.text:
            raise BaseModelError(f"vLLM cannot load the adapter: {protocol.trouble(500, _json(answer.content))}")
        self._adapters[adapter] = name


class _Used:
    """An adapter while an answer needs it: it is not unloaded."""

    def __init__(self, engine: VllmEngine, adapter: Path | None) -> None:
        self._engine, self._adapter = engine, adapter

    async def __aenter__(self) -> str:
        return await self._engine.use(self._adapter)

    async def __aexit__(self, *_: object) -> None:
        self._engine.leave(self._adapter)


async def _look(client: httpx.AsyncClient, base: Path, *, ours: bool) -> tuple[str, int]:
    """The name of the model there, and its context in tokens. Raises BaseModelError."""
    try:
        answer = await client.get("/v1/models")
        answer.raise_for_status()
        served = next(model for model in answer.json()["data"] if not model.get("parent"))
        root = str(served.get("root") or served["id"])
        if not ours and root != str(base) and Path(root).name.lower() not in base.name.lower():
            raise BaseModelError(
                f"vLLM at {client.base_url} serves {root}, and asked for is {base.name}. "
                f"Start it with `vllm serve {base}`."
            )
        return str(served["id"]), int(served["max_model_len"])
    except (httpx.HTTPError, StopIteration, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(
            f"No vLLM answers at {client.base_url}: {error or type(error).__name__}. Check LUTHIER_VLLM_URL and "
            "LUTHIER_VLLM_API_KEY, or leave them out to have one started."
        ) from error


def _unreachable(error: Exception) -> UnavailableError:
    return UnavailableError(f"vLLM could not be reached: {type(error).__name__}: {error}", code="engine_unreachable")


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")
