"""The vllm engine: a client of vLLM servers, one started here for the base model, or several run by an operator.

vLLM does scheduling, prefix caching and sampling, so this implements Engine rather than ModelRunner.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx

from luthier.inference.engine import EngineRequest, FinishReason, OnToken, Token
from luthier.inference.engines.vllm import protocol
from luthier.inference.engines.vllm.replicas import ReplicaPool, VllmReplica
from luthier.inference.engines.vllm.server import VllmServer
from luthier.inference.options import EngineOptions
from luthier.inference.scheduling.fairness import AdmissionControl
from luthier.inference.stream import GenerationStream
from luthier.types.errors import APIError, BadRequestError, BaseModelError, UnavailableError

_LOST_CONNECTION = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)


class VllmStream(GenerationStream):
    """One generation in vLLM, which reports `cached_tokens` at the end."""

    def __init__(self, request: EngineRequest, on_token: OnToken | None, release: Callable[[], None]) -> None:
        """`release` frees the queue slot; it is called once, before the end is delivered."""
        super().__init__(on_token)
        self.request = request
        self._release, self._lock = release, threading.Lock()
        self.work: Future[None] | None = None
        self.has_begun = False  # a token was delivered

    def deliver_token(self, token: Token) -> None:
        self.has_begun = True
        self.deliver(token)

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
    eight_bits = False  # as far as Luthier knows

    def __init__(self, base: Path, options: EngineOptions) -> None:
        """Raises BaseModelError if vLLM cannot be started or reached, or serves another model."""
        self._admission = AdmissionControl(options.max_requests_per_key)
        self._server = None if options.vllm.url else VllmServer(base, options)
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="luthier-vllm", daemon=True)
        self._thread.start()
        self._pool = ReplicaPool(_replicas(base, options, self._server))
        try:
            self.context_tokens: int = self._run(self._pool.connect()).result()
        except BaseException:
            self.close()
            raise
        self._run(self._pool.watch())

    @property
    def idle(self) -> bool:
        return self._admission.idle

    def submit(self, request: EngineRequest, on_token: OnToken | None = None) -> VllmStream:
        key = self._acquire()
        stream = VllmStream(request, on_token, lambda: self._admission.release(key))
        stream.work = self._run(self._generate(stream))
        stream.work.add_done_callback(lambda _: stream.finish("cancelled"))  # cancelled before its first step
        if stream.cancelled.is_set():  # by its callback, before `work` was set
            stream.work.cancel()
        return stream

    def score(self, prompt: list[int], adapter: Path | None, top: int, start: int = 1) -> "Future[list[Token]]":
        key = self._acquire()
        scoring = self._run(self._score(prompt, adapter, top, start))
        scoring.add_done_callback(lambda _: self._admission.release(key))
        return scoring

    def embed(self, prompts: Sequence[list[int]], adapter: Path | None) -> "Future[list[list[float]]]":
        raise BadRequestError(
            "The engine vllm cannot embed text with a base model. Its operator can set LUTHIER_EMBEDDING_MODEL.",
            code="embeddings_not_available",
        )

    def close(self) -> None:
        self._closed = True
        if self._loop.is_running():
            self._run(self._shut_down()).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if self._server:
            self._server.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _acquire(self) -> str:
        """Raises RateLimitError, UnavailableError."""
        if self._closed:
            raise UnavailableError("The server is shutting down.")
        return self._admission.acquire()

    async def _shut_down(self) -> None:
        """Cancels everything; each stream receives its end."""
        current = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not current]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._pool.close()

    async def _generate(self, stream: VllmStream) -> None:
        try:
            stream.finish(await self._stream_tokens(stream))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            stream.finish("cancelled", _unreachable(error))
        except (APIError, BaseModelError) as error:
            stream.finish("cancelled", error)
        finally:
            stream.finish("cancelled")

    async def _stream_tokens(self, stream: VllmStream) -> FinishReason:
        """Stream the tokens, switching to another replica if the chosen one cannot be reached and nothing has been
        delivered."""
        unreachable: set[VllmReplica] = set()
        while True:
            async with self._pool.replica(stream.request.adapter, unreachable) as replica:
                try:
                    return await _stream_from(replica, stream)
                except _LOST_CONNECTION as error:
                    if len(self._pool.replicas) == 1:
                        raise
                    replica.mark_down(error)
                    if stream.has_begun:
                        raise
                    unreachable.add(replica)

    async def _score(self, prompt: list[int], adapter: Path | None, top: int, start: int) -> list[Token]:
        try:
            async with self._pool.replica(adapter) as replica, replica.adapters.model_name(adapter) as model:
                body = protocol.score_request(prompt, model, top)
                response = await replica.client.post("/v1/completions", json=body)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error
        if not response.is_success:
            raise protocol.api_error(response.status_code, protocol.parse(response.content))
        return protocol.scored_tokens(prompt, response.json()["choices"][0], top, start)


async def _stream_from(replica: VllmReplica, stream: VllmStream) -> FinishReason:
    adapter = stream.request.adapter
    async with replica.adapters.model_name(adapter) as model:
        body = protocol.completion_request(stream.request, model)
        async with replica.client.stream("POST", "/v1/completions", json=body) as response:
            if response.is_success:
                return await _read_events(stream, response)
            error = protocol.api_error(response.status_code, protocol.parse(await response.aread()))
    if response.status_code == 404 and replica.adapters.forget(adapter):  # vLLM has restarted
        return await _stream_from(replica, stream)
    raise error


async def _read_events(stream: VllmStream, response: httpx.Response) -> FinishReason:
    reason: FinishReason | None = None
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data and data != "[DONE]":
            reason = _deliver(stream, json.loads(data)) or reason
    if reason is None:
        raise UnavailableError("vLLM ended an answer in the middle.")
    return reason


def _deliver(stream: VllmStream, chunk: dict[str, Any]) -> FinishReason | None:
    if "error" in chunk:
        raise protocol.api_error(500, chunk)
    sampling = stream.request.sampling
    details = (chunk.get("usage") or {}).get("prompt_tokens_details") or {}
    stream.cached_tokens = details.get("cached_tokens") or stream.cached_tokens
    for choice in chunk["choices"]:
        for token in protocol.chunk_tokens(choice, sampling.top_logprobs):
            if token.id not in sampling.stop_ids:
                stream.deliver_token(token)
        if choice.get("finish_reason"):
            return "stop" if choice["finish_reason"] == "stop" else "length"
    return None


def _replicas(base: Path, options: EngineOptions, server: VllmServer | None) -> list[VllmReplica]:
    """The replica that was started here, or those of the setting."""
    if server is not None:
        return [VllmReplica(_client(server.url, server.key, is_own=True), base, options.max_loras, is_own=True)]
    urls = [url.strip() for url in (options.vllm.url or "").split(",") if url.strip()]
    key = options.vllm.api_key or ""
    return [VllmReplica(_client(url, key, is_own=False), base, options.max_loras, is_own=False) for url in urls]


def _client(url: str, key: str, *, is_own: bool) -> httpx.AsyncClient:
    """An HTTP client; proxies of the environment apply only to the operator's servers."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout, limits = httpx.Timeout(600, connect=10), httpx.Limits(max_connections=None)
    base_url = url.rstrip("/").removesuffix("/v1")
    return httpx.AsyncClient(base_url=base_url, headers=headers, timeout=timeout, limits=limits, trust_env=not is_own)


def _unreachable(error: Exception) -> UnavailableError:
    return UnavailableError(f"vLLM could not be reached: {type(error).__name__}: {error}", code="engine_unreachable")
