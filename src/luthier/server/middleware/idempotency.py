"""`Idempotency-Key`: a POST repeated with the same key and the same body gets the stored response of the first one.

Uploads are exempt. Only successful, complete responses are stored, not errors or streams that end early: retrying after
an error is the purpose of the key. A request whose response is not stored, although it may have created something,
creates the same objects when it is repeated.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.body_limits import accepts_file
from luthier.server.http.buffered_body import buffer_body
from luthier.store import Store
from luthier.store.idempotency_keys import MAX_RESPONSE_BYTES, StoredResponse
from luthier.store.request_ids import seeded
from luthier.types.errors import BadRequestError, ConflictError

_MAX_KEY_CHARACTERS = 255
# The data of the last event of a stream that is complete, of completions and of responses.
_END = re.compile(rb'data: ?(\[DONE\]|\{"type": ?"response\.(completed|incomplete)")')


class Idempotency:
    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app, self._responses = app, store.idempotency_keys
        self._in_progress: set[str] = set()  # digests of keys whose first request has no response yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = _idempotency_key(scope)
        if header is None:
            await self._app(scope, receive, send)
            return
        body, replayed = await buffer_body(receive)
        key, request_digest = _key_digest(scope, header), _digest(scope["path"], body)
        if key in self._in_progress:
            raise ConflictError(f"A request with the idempotency key '{header}' is still running. Please try again.")
        self._in_progress.add(key)
        try:
            stored = await run_in_threadpool(self._responses.find, key)
            first_digest, seed = stored.request_digest if stored else "", ""
            if stored is None:
                first_digest, seed = await run_in_threadpool(self._responses.reserve, key, request_digest)
            if first_digest != request_digest:
                raise _reused_key(header)
            if stored is None:
                await self._forward_and_store(scope, replayed, send, key, request_digest, seed)
                return
        finally:
            self._in_progress.discard(key)
        headers = {**stored.headers, "idempotent-replayed": "true"}
        await Response(stored.body, stored.status, headers)(scope, replayed, send)

    async def _forward_and_store(
        self, scope: Scope, receive: Receive, send: Send, key: str, request_digest: str, seed: str
    ) -> None:
        """Stores the response before its last bytes are sent, so that a client's next request finds it."""

        async def store(response: StoredResponse | None, status: int) -> None:
            if response:
                await run_in_threadpool(self._responses.save, key, response)
            elif 300 <= status < 500:  # nothing was created; otherwise something may have been
                await run_in_threadpool(self._responses.release, key)
            self._in_progress.discard(key)

        with seeded(seed):
            await self._app(scope, receive, _ResponseRecorder(send, request_digest, store))


class _ResponseRecorder:
    """Forwards a response and records it.

    `on_complete` is called before the last bytes are sent, with the response, or None for one that cannot be stored,
    and its status. The last bytes of a stream are its last event, since clients may close the connection after it. The
    head of another response that is to be stored is sent with its first bytes: if it has one part and cannot be stored
    because the database does not answer, the client gets that error.
    """

    def __init__(
        self, send: Send, request_digest: str, on_complete: Callable[[StoredResponse | None, int], Awaitable[None]]
    ) -> None:
        self._send, self._request_digest, self._on_complete = send, request_digest, on_complete
        self._start: Message | None = None
        self._status, self._headers, self._body = 0, Headers(), bytearray()
        self._is_recorded = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], Headers(raw=message["headers"])
            if self._storable and not self._is_stream:
                self._start = message
                return
        elif message["type"] == "http.response.body" and not self._is_recorded:
            await self._record(message.get("body", b""), is_last=not message.get("more_body", False))
        if self._start:
            await self._send(self._start)
            self._start = None
        await self._send(message)

    async def _record(self, part: bytes, is_last: bool) -> None:
        if self._storable:
            self._body += part
        is_complete = _ends_stream(part) if self._is_stream else is_last
        if is_complete or is_last:
            self._is_recorded = True
            await self._on_complete(self._response() if is_complete and self._storable else None, self._status)

    @property
    def _is_stream(self) -> bool:
        return self._headers.get("content-type", "").startswith("text/event-stream")

    @property
    def _storable(self) -> bool:
        return 200 <= self._status < 300 and len(self._body) <= MAX_RESPONSE_BYTES

    def _response(self) -> StoredResponse:
        headers = {name: value for name, value in self._headers.items() if not name.startswith("x-ratelimit")}
        body = self._body.rstrip() + b"\n\n" if self._is_stream else self._body
        return StoredResponse(self._request_digest, self._status, headers, bytes(body))


def _ends_stream(part: bytes) -> bool:
    """Whether a part of a stream, of complete lines, ends with the last event of a complete stream."""
    return _END.match(part.rstrip().rpartition(b"\n")[2]) is not None


def _idempotency_key(scope: Scope) -> str | None:
    """The header of a request to which idempotency applies. Raises BadRequestError."""
    if scope["type"] != "http" or scope["method"] != "POST" or INTERNAL_CALLER in scope:
        return None
    header = Headers(scope=scope).get("idempotency-key")
    if not header or accepts_file(scope["path"]):
        return None
    if len(header) > _MAX_KEY_CHARACTERS:
        raise BadRequestError(f"The header Idempotency-Key is too long: at most {_MAX_KEY_CHARACTERS} characters.")
    return header


def _reused_key(header: str) -> BadRequestError:
    return BadRequestError(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{header}' if you meant to execute a different request.",
        code="idempotency_key_reused",
    )


def _key_digest(scope: Scope, header: str) -> str:
    """Keys are separate for each API key and project."""
    headers = Headers(scope=scope)
    return _digest(f"{headers.get('authorization', '')}\n{headers.get('openai-project', '')}", header.encode())


def _digest(text: str, body: bytes) -> str:
    return hashlib.sha256(text.encode() + b"\0" + body).hexdigest()
