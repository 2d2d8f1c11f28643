"""Who may come in: keys, hosts, origins, sizes. Also the headers that every answer carries.

Without keys the server listens on loopback only, and a web page that a person visits must not reach it: a request
that names another host (DNS rebinding) or comes from another origin is refused.
"""

import re
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.inference.scheduling.fairness import asked_by
from luthier.server.http.auth import INSIDE, caller_of
from luthier.server.http.errors import error_response
from luthier.server.routes.uploads import PART_BYTES
from luthier.settings import Settings
from luthier.types.common import new_id
from luthier.types.errors import APIError, PayloadTooLargeError, PermissionDeniedError
from luthier.types.projects import Caller

_JSON_BYTES = 32 * 1024 * 1024
_FORM_BYTES = 64 * 1024  # what a multipart body holds beside its file
_FILES, _PARTS = re.compile("/v1/files"), re.compile("/v1/uploads/[^/]+/parts")
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class Guard:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._keys = settings.keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, answering, request_id = time.perf_counter(), False, new_id("req_", 32)

        async def send_with_headers(message: Message) -> None:
            nonlocal answering
            if message["type"] == "http.response.start":
                answering = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", request_id)
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
                headers["openai-version"] = "2020-10-01"
            await send(message)

        try:
            caller = scope.get(INSIDE) or self._admit(HTTPConnection(scope))
            asked_by.set(self._key(scope))
            scope.setdefault("state", {}).update(caller=caller, request_id=request_id)
            await self._app(scope, self._counted(scope, receive), send_with_headers)
        except Exception as error:  # also what nobody foresaw: its answer carries an id to ask about, as all do
            if answering:
                raise
            await error_response(error)(scope, receive, send_with_headers)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Closed before it opens, which the other side sees as status 403."""
        try:
            self._admit(HTTPConnection(scope))
        except APIError as error:
            await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
            return
        await self._app(scope, receive, send)

    def _key(self, scope: Scope) -> str:
        """Whose request it is, for engines to be fair; all the same where no keys are asked for."""
        if INSIDE in scope:
            return f"batches of {scope[INSIDE].project}"
        return Headers(scope=scope).get("authorization", "") if self._keys else ""

    def _admit(self, connection: HTTPConnection) -> Caller:
        caller = caller_of(connection.headers, self._keys)
        self._check_sender(connection.headers)
        length = connection.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._limit(connection.scope):
            raise self._too_large(connection.scope)
        return caller

    def _check_sender(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        if not self._keys and _name(host) not in _LOCAL | {self._settings.host}:
            raise PermissionDeniedError(f"This server has no keys and answers to loopback names only, not to '{host}'.")
        origin = headers.get("origin")
        allowed = self._settings.cors_origins
        if origin and origin.lower().partition("://")[2] != host and not {"*", origin.lower()} & set(allowed):
            raise PermissionDeniedError(f"Requests from pages of another origin ({origin}) are refused.")

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """A body that says nothing of its length, or lies about it, is cut off at the limit too."""
        limit, seen = self._limit(scope), 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise self._too_large(scope)
            return message

        return counted

    def _limit(self, scope: Scope) -> int:
        """A file in its form where one may be sent, else JSON."""
        if not takes_file(scope["path"]):
            return _JSON_BYTES
        return _FORM_BYTES + (PART_BYTES if _PARTS.fullmatch(scope["path"]) else self._settings.max_file_bytes)

    def _too_large(self, scope: Scope) -> APIError:
        return PayloadTooLargeError(
            f"The request is larger than {self._limit(scope):,} bytes.", code="request_too_large"
        )


def takes_file(path: str) -> bool:
    """Whether a body there may be larger than what is held in memory."""
    return bool(_FILES.fullmatch(path) or _PARTS.fullmatch(path))


def _name(host: str) -> str:
    """The host without its port; nothing where there is none to be read."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
