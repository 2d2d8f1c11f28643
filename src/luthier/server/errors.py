"""Everything that goes wrong, as OpenAI's four-key body.

Validation errors are put into OpenAI's words; an error nobody foresaw becomes a 500 that says so and is logged.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from luthier.types.errors import APIError, BadRequestError, BaseModelError, RenderError, UnavailableError

_log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    for kind in (APIError, BaseModelError, RenderError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    made = as_api_error(error, request)
    headers = {"retry-after": "1"} if made.status == 429 else {}
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
            return validation_error(error.errors())
        case HTTPException() if isinstance(error.__cause__, APIError):
            return error.__cause__
        case HTTPException():
            return _http_error(error, request)
    _log.error("unforeseen error", exc_info=error)
    return APIError("The server had an error while processing your request. Sorry about that! Its log has the cause.")


def _http_error(error: HTTPException, request: Request | None) -> APIError:
    where = f"{request.method} {request.url.path}" if request else ""
    made = BadRequestError(str(error.detail))
    if error.status_code == 404:
        made = BadRequestError(f"Invalid URL ({where})")
    elif error.status_code == 405:
        made = BadRequestError(
            f"Not allowed to {where.replace(' ', ' on ', 1)} (HINT: Perhaps you meant another method)"
        )
    made.status = error.status_code
    return made


def validation_error(errors: Any) -> BadRequestError:
    """The first of pydantic's errors in OpenAI's words and codes."""
    first = _most_telling(list(errors))
    kind, given, context = first["type"], first.get("input"), first.get("ctx") or {}
    path = [part for part in first["loc"] if part not in ("body", "query", "path") and not _is_branch(part)]
    param = _param(path)
    if kind == "json_invalid":
        return BadRequestError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        )
    if kind == "missing":
        if not path:
            return BadRequestError("you must provide a request body")
        return BadRequestError(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    if kind == "extra_forbidden":
        return BadRequestError(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
    if kind in ("literal_error", "enum"):
        wanted = context.get("expected", "").replace(" or ", ", ").replace("', '", "', '")
        text = f"Invalid value: {given!r}. Supported values are: {wanted}."
        return BadRequestError(text, param=param, code="invalid_value")
    if kind in _LIMITS:
        what, side, sign = _LIMITS[kind]
        number = "integer" if isinstance(given, int) else "decimal"
        bound = context.get(what)
        text = f"Invalid '{param}': {number} {side} value. Expected a value {sign} {bound}, but got {given} instead."
        return BadRequestError(text, param=param, code=f"{number}_{side.replace(' ', '_')}_value")
    if kind.endswith("_type") or kind in ("int_from_float", "int_parsing", "float_parsing", "finite_number"):
        wanted = _TYPES.get(kind.split("_")[0], kind.split("_")[0])
        text = f"Invalid type for '{param}': expected {wanted}, but got {_type_name(given)} instead."
        return BadRequestError(text, param=param, code="invalid_type")
    return BadRequestError(f"Invalid '{param}': {first['msg']}.", param=param, code="invalid_value")


_LIMITS = {
    "greater_than_equal": ("ge", "below minimum", ">="),
    "greater_than": ("gt", "below minimum", ">"),
    "less_than_equal": ("le", "above maximum", "<="),
    "less_than": ("lt", "above maximum", "<"),
}
_TYPES = {
    "string": "a string",
    "int": "an integer",
    "float": "a decimal",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}


def _most_telling(errors: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the branches of a union each complains; the one about a value says more than one about its type."""
    same = [error for error in errors if _plain(error["loc"])[:2] == _plain(errors[0]["loc"])[:2]]
    return min(same, key=lambda error: (error["type"] == "literal_error", error["type"].endswith("_type")))


def _plain(path: Any) -> list[Any]:
    return [part for part in path if not _is_branch(part)]


def _is_branch(part: Any) -> bool:
    """Pydantic names the branch of a union in the path: `str`, `list[...]`, `constrained-int`, `NamedTool`."""
    return isinstance(part, str) and (
        part in ("str", "int", "float", "bool") or part[:1].isupper() or "[" in part or "-" in part
    )


def _param(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def _type_name(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object")
