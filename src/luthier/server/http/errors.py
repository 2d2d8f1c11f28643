"""Everything that goes wrong, as OpenAI's four-key body. An error nobody foresaw says so, and is logged."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from luthier.server.http.pydantic_errors import validation_error
from luthier.types.errors import APIError, BadRequestError, BaseModelError, RenderError, UnavailableError

_log = logging.getLogger(__name__)
# Trying again changes nothing about these, and OpenAI's clients try again on every 5xx unless they are told.
_LASTING = {"base_model_unavailable", "upstream_not_configured"}


def install(app: FastAPI) -> None:
    for kind in (APIError, BaseModelError, RenderError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(ClientDisconnect, _nobody_there)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    return error_response(error, request)


async def _nobody_there(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


def error_response(error: Exception, request: Request | None = None) -> JSONResponse:
    made = as_api_error(error, request)
    headers = dict(made.headers)
    if made.status in (409, 429) and "retry-after" not in headers and "x-should-retry" not in headers:
        headers["retry-after"] = "1"
    if made.code in _LASTING:
        headers["x-should-retry"] = "false"
    return JSONResponse(made.body(), made.status, headers)


def as_api_error(error: Exception, request: Request | None = None) -> APIError:
    """Any exception as one that can be sent."""
    match error:
        case APIError():
            return error
        case RenderError():
            return BadRequestError(str(error), param="messages")
        case BaseModelError():
            return UnavailableError(str(error), code="base_model_unavailable")
        case RequestValidationError():
            return _request_error(error, request)
        case HTTPException() if isinstance(error.__cause__, APIError):
            return error.__cause__
        case HTTPException():
            return _http_error(error, request)
    _log.error("unforeseen error", exc_info=error)
    return APIError("The server had an error while processing your request. Sorry about that! Its log has the cause.")


def _request_error(error: RequestValidationError, request: Request | None) -> APIError:
    """FastAPI's places begin with the part of the request: the body, the query, the path."""
    part = error.errors()[0]["loc"][0]
    inside = [{**one, "loc": one["loc"][1:]} for one in error.errors() if one["loc"][0] == part]
    if part != "body":
        return validation_error(inside, dict(request.query_params) if request else {})
    if isinstance(error.body, bytes):
        sent = request.headers.get("content-type") if request else None
        return BadRequestError(
            f"The body of this request is JSON, with the header Content-Type: application/json; "
            f"the header that came was: {sent}."
        )
    return validation_error(inside, error.body)


def _http_error(error: HTTPException, request: Request | None) -> APIError:
    method, path = (request.method, request.url.path) if request else ("", "")
    text = str(error.detail)
    if error.status_code == 404:
        text = f"Invalid URL ({method} {path})"
    elif error.status_code == 405:
        text = f"Not allowed to {method} on {path} (HINT: Perhaps you meant another method)"
    made = BadRequestError(text, headers=error.headers)
    made.status = error.status_code
    return made
