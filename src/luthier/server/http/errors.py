"""Converts exceptions to OpenAI's error body with four keys. An unexpected one is logged and becomes status 500."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DatabaseError, DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from luthier.error_texts import chinese_error
from luthier.language import of_request
from luthier.server.http.pydantic_errors import validation_error
from luthier.store.sqlite_backend import is_damaged
from luthier.store.storage_faults import storage_fault
from luthier.types.errors import (
    APIError,
    BadRequestError,
    BaseModelError,
    CorruptDataError,
    InsufficientStorageError,
    RenderError,
    UnavailableError,
)

_log = logging.getLogger(__name__)
# Permanent errors: a retry cannot succeed, and OpenAI's clients retry every 5xx without `x-should-retry: false`.
_PERMANENT_CODES = {"base_model_unavailable", "upstream_not_configured"}
_CLIENT_CLOSED_REQUEST = 499


def install(app: FastAPI) -> None:
    for kind in (APIError, BaseModelError, RenderError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    return error_response(error, request)


async def _handle_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


def error_response(error: Exception, request: Request | None = None) -> JSONResponse:
    api_error = as_api_error(error, request)
    headers = dict(api_error.headers)
    if api_error.status in (409, 429) and "retry-after" not in headers and "x-should-retry" not in headers:
        headers["retry-after"] = "1"
    if api_error.code in _PERMANENT_CODES:
        headers["x-should-retry"] = "false"
    return JSONResponse(error_body(api_error), api_error.status, headers)


def error_body(error: APIError) -> dict[str, Any]:
    """OpenAI's four keys, with the message in Chinese if the request asks for it."""
    body = error.body()
    if of_request.get() == "zh":
        fields = body["error"]
        fields["message"] = chinese_error(error.status, fields["message"], error.code, error.param)
    return body


def as_api_error(error: Exception, request: Request | None = None) -> APIError:
    """Convert any exception to an error that can be sent to a client; an unexpected one is logged."""
    match error:
        case APIError():
            return error
        case RenderError():
            return BadRequestError(str(error), param="messages")
        case BaseModelError():
            return UnavailableError(str(error), code="base_model_unavailable")
        case RequestValidationError():
            return _request_validation_error(error, request)
        case DBAPIError() | OSError() if storage_error := _storage_error(error):
            return storage_error
        case DatabaseError() if is_damaged(error.orig):
            _log.error("the database is damaged: %s", error.orig)
            return CorruptDataError("The server's database is damaged; its operator has to restore a backup.")
        case HTTPException() if isinstance(error.__cause__, APIError):
            return error.__cause__
        case HTTPException():
            return _http_error(error, request)
    _log.error("unexpected error", exc_info=error)
    return APIError("The server had an error while processing your request. Sorry about that! Its log has the cause.")


def _storage_error(error: DBAPIError | OSError) -> APIError | None:
    """The error for a storage fault: nothing was written, and the request may be sent again."""
    match storage_fault(error):
        case "full":
            message = "The server's disk is full. Nothing was stored; its operator has to free space."
            return InsufficientStorageError(message)
        case "read_only":
            return InsufficientStorageError("The server's disk is read-only. Nothing was stored.")
        case "failing":
            message = "The server's disk reports errors. Nothing was stored; its operator has to check the disk."
            return InsufficientStorageError(message)
        case "locked":
            message = "The database is locked by another program. Nothing was stored; please try again."
            return UnavailableError(message, code="database_busy", headers={"retry-after": "5"})
        case "unreachable":
            message = "The database cannot be reached, or did not respond in time. Please try again."
            return UnavailableError(message, code="database_unavailable", headers={"retry-after": "5"})
    return None


def _request_validation_error(error: RequestValidationError, request: Request | None) -> APIError:
    """The error for an invalid body, query or path. FastAPI's locations begin with this part of the request."""
    part = error.errors()[0]["loc"][0]
    inside = [{**entry, "loc": entry["loc"][1:]} for entry in error.errors() if entry["loc"][0] == part]
    if part != "body":
        return validation_error(inside, dict(request.query_params) if request else {})
    if isinstance(error.body, bytes):
        content_type = request.headers.get("content-type") if request else None
        return BadRequestError(
            "Send the body of this request as JSON, with the header Content-Type: application/json "
            f"(sent: {content_type or 'no such header'})."
        )
    return validation_error(inside, error.body)


def _allowed_methods(request: Request) -> list[str]:
    """The methods of all routes of this path: the exception lists only those of the first one."""
    routes = request.app.routes
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def _http_error(error: HTTPException, request: Request | None) -> APIError:
    method, path = (request.method, request.url.path) if request else ("", "")
    message = str(error.detail)
    if error.status_code == 404:
        message = f"Invalid URL ({method} {path})"
    elif error.status_code == 405:
        message = f"Not allowed to {method} on {path} (HINT: Perhaps you meant another method)"
    headers = error.headers
    if request and error.status_code == 405:
        headers = {"allow": ", ".join(_allowed_methods(request))}
    api_error = BadRequestError(message, headers=headers)
    api_error.status = error.status_code
    return api_error
