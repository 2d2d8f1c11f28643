"""Requests and tokens per minute of each key, where the operator limits them. OpenAI's headers and its words.

Tokens are counted before the answer is known, by OpenAI's rule: the larger of what the request asks for at most and a
quarter of the characters that it sends. Counts are of this process and forgotten when it ends.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.server.http.auth import INSIDE
from luthier.server.http.json_body import read_json
from luthier.server.middleware.idempotency import body_and_rest
from luthier.settings import Settings
from luthier.types.errors import BadRequestError, RateLimitError

_LIMITED = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations"}


@dataclass
class Bucket:
    """Refills evenly, `limit` a minute; `left` of it at the time `at`."""

    limit: int
    left: float
    at: float

    def refill(self, now_s: float) -> None:
        self.left = min(self.limit, self.left + (now_s - self.at) * self.limit / 60)
        self.at = now_s

    def wait_s(self, wanted: float) -> float:
        """Until there are so many."""
        return max(0.0, (wanted - self.left) * 60 / self.limit)


class Limits:
    def __init__(self, app: ASGIApp, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._organization, self._clock = app, settings.organization, clock
        self._with_keys = bool(settings.api_keys)
        self._per_minute = {"requests": settings.requests_per_minute, "tokens": settings.tokens_per_minute}
        self._keys: dict[str, dict[str, Bucket]] = {}  # as many as the server has keys: the guard stands before this

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limited = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _LIMITED
        if not limited or INSIDE in scope or not any(self._per_minute.values()):
            await self._app(scope, receive, send)
            return
        body, again = await body_and_rest(receive)
        buckets = self._buckets(Headers(scope=scope).get("authorization", ""))
        model, tokens = _asked(body)
        headers = self._spend(buckets, {"requests": 1, "tokens": tokens}, model)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, again, with_headers)

    def _buckets(self, authorization: str) -> dict[str, Bucket]:
        """Those of a key, filled up to now; where no keys are asked for, what a client calls its key is nothing."""
        key = hashlib.sha256(authorization.partition(" ")[2].encode()).hexdigest() if self._with_keys else ""
        now_s = self._clock()
        fresh = {name: Bucket(limit, limit, now_s) for name, limit in self._per_minute.items() if limit}
        buckets = self._keys.setdefault(key, fresh)
        for bucket in buckets.values():
            bucket.refill(now_s)
        return buckets

    def _spend(self, buckets: dict[str, Bucket], wanted: dict[str, int], model: str) -> dict[str, str]:
        """The headers afterwards. Raises RateLimitError with nothing spent."""
        for name, bucket in buckets.items():
            if bucket.left < wanted[name]:
                raise self._refusal(buckets, name, wanted[name], model)
        for name, bucket in buckets.items():
            bucket.left -= wanted[name]
        return _headers(buckets)

    def _refusal(self, buckets: dict[str, Bucket], name: str, wanted: int, model: str) -> RateLimitError:
        bucket, short = buckets[name], "RPM" if name == "requests" else "TPM"
        on = f"for {model} in organization {self._organization} on {name} per min ({short}): Limit {bucket.limit}"
        if wanted > bucket.limit:
            message = f"Request too large {on}, Requested {wanted}. The input or output tokens must be reduced."
            return _limited(name, message, {**_headers(buckets), "x-should-retry": "false"})
        wait_s = bucket.wait_s(wanted)
        used = bucket.limit - math.floor(bucket.left)
        message = f"Rate limit reached {on}, Used {used}, Requested {wanted}. Please try again in {_shown(wait_s)}."
        again = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
        return _limited(name, message, {**_headers(buckets), **again})


def _limited(kind: str, message: str, headers: dict[str, str]) -> RateLimitError:
    error = RateLimitError(message, code="rate_limit_exceeded", headers=headers)
    error.type = kind
    return error


def _headers(buckets: dict[str, Bucket]) -> dict[str, str]:
    made = {}
    for name, bucket in buckets.items():
        made[f"x-ratelimit-limit-{name}"] = str(bucket.limit)
        made[f"x-ratelimit-remaining-{name}"] = str(math.floor(bucket.left))
        made[f"x-ratelimit-reset-{name}"] = _shown(bucket.wait_s(bucket.limit))
    return made


def _shown(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"


def _asked(body: bytes) -> tuple[str, int]:
    """The model and the tokens to count; what is no request is refused later, for what it is."""
    try:
        asked = read_json(body)
    except BadRequestError:
        asked = None
    if not isinstance(asked, dict):
        return "", math.ceil(len(body) / 4)
    limits = [asked.get(name) for name in ("max_completion_tokens", "max_tokens")]
    most = max((limit for limit in limits if isinstance(limit, int)), default=0)
    texts = (asked.get(name) for name in ("messages", "prompt", "input"))
    return str(asked.get("model"))[:100], max(most, math.ceil(sum(map(_characters, texts)) / 4))


def _characters(value: Any) -> int:
    """Of all texts inside; a token id counts as the four characters that it stands for."""
    found, left = 0, [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found += len(one)
        elif isinstance(one, int):
            found += 4
        elif isinstance(one, (list, dict)):
            left += one if isinstance(one, list) else one.values()
    return found
