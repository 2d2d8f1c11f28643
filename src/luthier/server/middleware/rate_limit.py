"""Rate limits: requests and tokens per minute of each API key, with OpenAI's headers and messages.

Tokens are counted before generation by OpenAI's rule: the larger of the requested maximum of completion tokens and a
quarter of the characters sent. Counts are kept in this process and lost when it ends; if servers share a database, they
are counted there over all of them (`luthier.store.rate_allowances`).
"""

import math
import time
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.buffered_body import buffer_body
from luthier.server.http.json_body import parse_json_body
from luthier.settings import Settings
from luthier.store.rate_allowances import RateAllowances
from luthier.types.errors import APIError, RateLimitError
from luthier.types.projects import Caller
from luthier.types.token_bucket import TokenBucket, spend

_LIMITED_PATHS = {
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
}
_CHARACTERS_PER_TOKEN = 4


class RateLimit:
    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        shared: RateAllowances | None = None,
    ) -> None:
        """`shared`: counts over all servers; None: in this process."""
        self._shared = shared
        self._app, self._organization, self._clock = app, settings.organization, clock
        self._per_minute = {"requests": settings.requests_per_minute, "tokens": settings.tokens_per_minute}
        # One entry for each of the server's keys at most: access control runs before.
        self._buckets: dict[str, dict[str, TokenBucket]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limited = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _LIMITED_PATHS
        limits = self._limits(scope["state"]["caller"]) if limited and INTERNAL_CALLER not in scope else {}
        if not limits:
            await self._app(scope, receive, send)
            return
        body, replayed = await buffer_body(receive)
        key = scope["state"]["caller"].key_digest  # without keys all clients share a count, whatever key they send
        model, tokens = await _model_and_tokens(body)
        cost = {"requests": 1, "tokens": tokens}
        if self._shared:
            buckets, exceeded_limit = await run_in_threadpool(self._shared.spend, key, limits, cost)
        else:
            buckets = self._refilled_buckets(key, limits)
            exceeded_limit = spend(buckets, cost)
        if exceeded_limit:
            raise self._exceeded(buckets, exceeded_limit, cost[exceeded_limit], model)
        headers = _headers(buckets)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, replayed, send_with_headers)

    def _limits(self, caller: Caller) -> dict[str, int]:
        """The limits that apply to a caller: those of its key, or else those of the settings."""
        own = {"requests": caller.requests_per_minute, "tokens": caller.tokens_per_minute}
        return {name: limit for name, default in self._per_minute.items() if (limit := own[name] or default)}

    def _refilled_buckets(self, key: str, per_minute: dict[str, int]) -> dict[str, TokenBucket]:
        now_s = self._clock()
        full = {name: TokenBucket(limit, limit, now_s) for name, limit in per_minute.items()}
        buckets = self._buckets.setdefault(key, full)
        for bucket in buckets.values():
            bucket.refill(now_s)
        return buckets

    def _exceeded(self, buckets: dict[str, TokenBucket], name: str, cost: int, model: str) -> RateLimitError:
        bucket, unit = buckets[name], "RPM" if name == "requests" else "TPM"
        limit = f"for {model} in organization {self._organization} on {name} per min ({unit}): Limit {bucket.limit}"
        if cost > bucket.limit:
            message = f"Request too large {limit}, Requested {cost}. The input or output tokens must be reduced."
            return _rate_limit_error(name, message, {**_headers(buckets), "x-should-retry": "false"})
        wait_s = bucket.wait_s(cost)
        used = bucket.limit - math.floor(bucket.remaining)
        message = f"Rate limit reached {limit}, Used {used}, Requested {cost}. Please try again in {_duration(wait_s)}."
        retry = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
        return _rate_limit_error(name, message, {**_headers(buckets), **retry})


def _rate_limit_error(kind: str, message: str, headers: dict[str, str]) -> RateLimitError:
    error = RateLimitError(message, code="rate_limit_exceeded", headers=headers)
    error.type = kind
    return error


def _headers(buckets: dict[str, TokenBucket]) -> dict[str, str]:
    headers = {}
    for name, bucket in buckets.items():
        headers[f"x-ratelimit-limit-{name}"] = str(bucket.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(math.floor(bucket.remaining))
        headers[f"x-ratelimit-reset-{name}"] = _duration(bucket.wait_s(bucket.limit))
    return headers


def _duration(seconds: float) -> str:
    """A duration in OpenAI's format: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"


async def _model_and_tokens(body: bytes) -> tuple[str, int]:
    """The model and the tokens to count. An invalid body is counted too; the route rejects it later."""
    try:
        request = await parse_json_body(body)
    except APIError:
        request = None
    if not isinstance(request, dict):
        return "", math.ceil(len(body) / _CHARACTERS_PER_TOKEN)
    limits = [request.get(name) for name in ("max_output_tokens", "max_completion_tokens", "max_tokens")]
    requested = max((limit for limit in limits if isinstance(limit, int)), default=0)
    characters = sum(_characters(request.get(name)) for name in ("messages", "prompt", "input", "instructions"))
    return str(request.get("model"))[:100], max(requested, math.ceil(characters / _CHARACTERS_PER_TOKEN))


def _characters(value: Any) -> int:
    """The number of characters of all strings inside the value; a token id counts as the characters of one token."""
    total, pending = 0, [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, str):
            total += len(entry)
        elif isinstance(entry, int):
            total += _CHARACTERS_PER_TOKEN
        elif isinstance(entry, (list, dict)):
            pending += entry if isinstance(entry, list) else entry.values()
    return total
