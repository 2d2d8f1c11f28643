"""Access control: API keys, hosts, origins and body sizes; and the headers that every response carries.

A server without keys answers this machine only, and no web page that a person visits may reach it: requests from
another address, for another host (DNS rebinding) or from another origin are refused.
"""

import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.inference.scheduling.fairness import fairness_key
from luthier.language import Language, of_request
from luthier.server.http.auth import INTERNAL_CALLER, authenticate
from luthier.server.http.body_limits import body_limit_bytes
from luthier.server.http.errors import as_api_error, error_response
from luthier.server.http.key_ring import KeyRing
from luthier.settings import Settings
from luthier.store.database import refuse_when_busy
from luthier.store.key_quotas import calling
from luthier.types.allowed_hosts import is_loopback_host
from luthier.types.errors import APIError, PayloadTooLargeError, PermissionDeniedError, UnsupportedMediaTypeError
from luthier.types.ids import new_id
from luthier.types.projects import Caller

_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
_READING = {"GET", "HEAD", "OPTIONS"}
_MAX_HEADERS_BYTES = 64 * 1024
_PROBE_PATHS = {"/health", "/ready"}  # for Docker, Kubernetes and load balancers, which do not send a key
_DASHBOARD_PATHS = ("/", "/dashboard/")  # files without data; browsers send no key for them
_NOBODY = Caller(project=None, admin=False)


class AccessControl:
    """Sets `caller` and `request_id` in the scope's state of every request that it passes on."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing) -> None:
        self._app, self._settings, self._keys = app, settings, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._handle_http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._handle_websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        start_s, response_started, request_id = time.perf_counter(), False, new_id("req_", 32)

        async def send_with_headers(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", request_id)
                headers["openai-processing-ms"] = str(round((time.perf_counter() - start_s) * 1000))
                headers["openai-version"] = "2020-10-01"
            await send(message)

        of_request.set(_language(scope))
        try:
            caller = scope.get(INTERNAL_CALLER) or await self._caller(HTTPConnection(scope))
            fairness_key.set(_fairness_key(scope, caller))
            refuse_when_busy.set(INTERNAL_CALLER not in scope)
            calling.set(caller)
            scope.setdefault("state", {}).update(caller=caller, request_id=request_id)
            await self._app(scope, self._limit_body(scope, receive), send_with_headers)
        except Exception as error:  # unexpected ones too, so that their responses carry a request id
            if response_started:
                raise
            await error_response(error)(scope, receive, send_with_headers)

    async def _handle_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close a rejected websocket before it opens, which its client sees as status 403."""
        try:
            await self._authorize(HTTPConnection(scope))
        except Exception as error:
            await send({"type": "websocket.close", "code": 1008, "reason": as_api_error(error).message[:100]})
            return
        await self._app(scope, receive, send)

    async def _caller(self, connection: HTTPConnection) -> Caller:
        """The caller. Probes are answered for everyone, since their Host header is often the address of a pod.
        Raises APIError."""
        path, is_read = connection.scope["path"], connection.scope["method"] in ("GET", "HEAD")
        if is_read and path in _PROBE_PATHS:
            return _NOBODY
        if is_read and (path == _DASHBOARD_PATHS[0] or path.startswith(_DASHBOARD_PATHS[1])):
            self._check_origin(connection, (await self._keys.check("")).is_required)
            return _NOBODY
        return await self._authorize(connection)

    async def _authorize(self, connection: HTTPConnection) -> Caller:
        """Raises APIError."""
        _check_headers_size(connection.scope)
        caller = await authenticate(connection.headers, self._keys)
        if caller.read_only and connection.scope.get("method", "GET") not in _READING:
            raise PermissionDeniedError(
                "This API key can only read, because its role is 'reader'.", code="insufficient_permissions"
            )
        self._check_origin(connection, bool(caller.key_digest))
        _check_encoding(connection.headers)
        content_length = connection.headers.get("content-length", "")
        limit = self._body_limit_bytes(connection.scope)
        if content_length.isdecimal() and int(content_length[:20]) > limit:
            raise _body_too_large(limit)
        return caller

    def _check_origin(self, connection: HTTPConnection, requires_key: bool) -> None:
        """Raises PermissionDeniedError for a request from an address, host or web page that is not allowed."""
        host = connection.headers.get("host", "").lower()
        if not requires_key:
            self._check_loopback(connection, host)
        origin = connection.headers.get("origin")
        allowed_origins = self._settings.cors_origins
        if origin and origin.lower().partition("://")[2] != host and not {"*", origin.lower()} & set(allowed_origins):
            raise PermissionDeniedError(f"Requests from pages of another origin ({origin}) are refused.")

    def _check_loopback(self, connection: HTTPConnection, host: str) -> None:
        """Refuses requests from other machines to a server without keys. It checks each request, because another ASGI
        server may listen on any address, whatever the settings say.
        """
        if _hostname(host) not in _LOOPBACK_NAMES | {self._settings.host}:
            raise PermissionDeniedError(
                f"This server has no API keys, so it accepts only loopback names, not '{host}'. To reach it under "
                "other names, as from a container, start it with --api-keys or LUTHIER_API_KEYS."
            )
        client = connection.client  # None: a Unix socket
        if client and not is_loopback_host(client.host):
            raise PermissionDeniedError(
                "This server has no API keys, so it accepts requests only from its own machine, not from "
                f"{client.host}. To reach it from other machines, start it with --api-keys or LUTHIER_API_KEYS."
            )

    def _limit_body(self, scope: Scope, receive: Receive) -> Receive:
        """Enforce the limit while the body arrives, in case `content-length` is missing or wrong."""
        limit, received = self._body_limit_bytes(scope), 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _body_too_large(limit)
            return message

        return receive_limited

    def _body_limit_bytes(self, scope: Scope) -> int:
        return body_limit_bytes(scope["path"], self._settings.max_file_bytes)


def _language(scope: Scope) -> Language | None:
    """The language of the response: Chinese if the query has `lang=zh`."""
    query = scope["query_string"]
    return "zh" if b"lang=zh" in query and QueryParams(query).get("lang") == "zh" else None


def _fairness_key(scope: Scope, caller: Caller) -> str:
    """The key by which engines schedule fairly; the same for everyone on a server without API keys."""
    return f"batches of {caller.project}" if INTERNAL_CALLER in scope else caller.key_digest


def _check_headers_size(scope: Scope) -> None:
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > _MAX_HEADERS_BYTES:
        error = PayloadTooLargeError(
            f"The headers of the request have {size:,} bytes; at most {_MAX_HEADERS_BYTES:,} are allowed."
        )
        error.status = 431
        raise error


def _check_encoding(headers: Headers) -> None:
    """Raises UnsupportedMediaTypeError for a compressed body."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaTypeError(
            f"The body is compressed (Content-Encoding: {encoding[:40]}). Send it uncompressed."
        )


def _body_too_large(limit_bytes: int) -> APIError:
    return PayloadTooLargeError(f"The request is larger than {limit_bytes:,} bytes.", code="request_too_large")


def _hostname(host: str) -> str:
    """The host without its port; empty when it cannot be parsed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
