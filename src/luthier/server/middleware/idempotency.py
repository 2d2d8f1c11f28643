"""`Idempotency-Key`: a POST that is sent again with the same key and the same body gets the answer of the first time.

Not where files are sent, and only of answers that are good and whole: a stream is not kept, and after an error trying
again is what the key is for. Knows nothing about what is asked.
"""

import hashlib
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.server.http.auth import INSIDE
from luthier.server.middleware.access_control import takes_file
from luthier.store import Store
from luthier.store.idempotency_keys import MOST_BYTES, Kept
from luthier.types.errors import BadRequestError, ConflictError

_MOST_CHARACTERS = 255


class Replay:
    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app, self._replays = app, store.replays
        self._under_way: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _key(scope)
        if sent is None:
            await self._app(scope, receive, send)
            return
        body, again = await body_and_rest(receive)
        headers = Headers(scope=scope)
        who = f"{headers.get('authorization', '')}\n{headers.get('openai-project', '')}"
        key = _digest(who, sent)
        asked = _digest(scope["path"], body)
        if key in self._under_way:
            raise ConflictError(f"A request with the idempotency key '{sent}' is under way. Please try again.")
        self._under_way.add(key)
        try:
            kept = await run_in_threadpool(self._replays.find, key)
            if kept is None:
                await self._answer(scope, again, send, key, asked)
                return
        finally:
            self._under_way.discard(key)
        if kept.asked != asked:
            raise BadRequestError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{sent}' if you meant to execute a different request.",
                code="idempotency_key_reused",
            )
        await Response(kept.body, kept.status, {**kept.headers, "idempotent-replayed": "true"})(scope, again, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, key: str, asked: str) -> None:
        """The application's own answer; it is kept before the client has read its end and could ask again."""

        async def over(answer: Kept | None) -> None:
            if answer:
                await run_in_threadpool(self._replays.keep, key, answer)
            self._under_way.discard(key)

        await self._app(scope, receive, _Recorder(send, asked, over))


class _Recorder:
    """Passes an answer on and remembers it; `over` gets it before its end is sent, None when it cannot be kept."""

    def __init__(self, send: Send, asked: str, over: Callable[[Kept | None], Awaitable[None]]) -> None:
        self._send, self._asked, self._over = send, asked, over
        self._status, self._headers, self._body = 0, Headers(), bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], Headers(raw=message["headers"])
        elif message["type"] == "http.response.body":
            if self._can_be_kept():
                self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._over(self._answer() if self._can_be_kept() else None)
        await self._send(message)

    def _can_be_kept(self) -> bool:
        streamed = self._headers.get("content-type", "").startswith("text/event-stream")
        return 200 <= self._status < 300 and not streamed and len(self._body) <= MOST_BYTES

    def _answer(self) -> Kept:
        headers = {name: value for name, value in self._headers.items() if not name.startswith("x-ratelimit")}
        return Kept(self._asked, self._status, headers, bytes(self._body))


def _key(scope: Scope) -> str | None:
    """Raises BadRequestError."""
    if scope["type"] != "http" or scope["method"] != "POST" or INSIDE in scope:
        return None
    sent = Headers(scope=scope).get("idempotency-key")
    if not sent or takes_file(scope["path"]):
        return None
    if len(sent) > _MOST_CHARACTERS:
        raise BadRequestError(f"The header Idempotency-Key has at most {_MOST_CHARACTERS} characters.")
    return sent


async def body_and_rest(receive: Receive) -> tuple[bytes, Receive]:
    """The whole body, and a `receive` that gives it once more, and then what comes after it."""
    body, messages = bytearray(), list[Message]()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            messages.append(message)
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            messages.append({"type": "http.request", "body": bytes(body), "more_body": False})
            break
    return bytes(body), _after(messages, receive)


def _after(messages: list[Message], receive: Receive) -> Callable[[], Awaitable[Message]]:
    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again


def _digest(one: str, two: str | bytes) -> str:
    raw = two.encode() if isinstance(two, str) else two
    return hashlib.sha256(one.encode() + b"\0" + raw).hexdigest()
