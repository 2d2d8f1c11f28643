"""`/openapi.json`: the document that FastAPI derives from the routes, completed with what FastAPI cannot see.

Bodies that a route parses itself are declared on the route with `reads`; errors have OpenAI's body, not FastAPI's.
"""

from threading import Lock
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from luthier.types.common import Response
from luthier.types.error_body import ErrorBody

PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
_DECLARED: dict[str, type[BaseModel]] = {}  # models that routes parse or send beyond those that FastAPI sees


def schema_ref(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the model's schema, which the document then includes."""
    _DECLARED[model.__name__] = model
    return {"$ref": _REF.format(model=model.__name__)}


def reads(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that parses its JSON body itself."""
    return _request_body("application/json", schema_ref(model))


def reads_form(file_field: str, model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that parses a form itself: a file, and the fields of `model` beside it."""
    form = model.model_json_schema()
    form["properties"] = {file_field: {"type": "string", "format": "binary"}} | form["properties"]
    return _request_body("multipart/form-data", form | {"required": [file_field, *form.get("required", [])]})


def streams(chunk: type[BaseModel]) -> dict[str, Any]:
    """`content` of a response that may also be server-sent events, each with a `chunk` as its data."""
    return {"text/event-stream": {"schema": schema_ref(chunk)}}


def _request_body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """Called after all routes are added; the document is built on the first request for it and cached.

    That takes seconds, so it is not done on the event loop, where FastAPI's own route would do it.
    """
    building = Lock()

    def openapi() -> dict[str, Any]:
        with building:
            document = app.openapi_schema = app.openapi_schema or _document(app)
        return document

    def send() -> JSONResponse:
        return JSONResponse(openapi())

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
    app.add_api_route(PATH, send, methods=["GET", "HEAD"], include_in_schema=False)


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema and those of its parts, prefixed with its name: several models have a `TextPart`."""
    name = model.__name__
    mode: Literal["validation", "serialization"] = "serialization" if issubclass(model, Response) else "validation"
    schema = model.model_json_schema(ref_template=_REF.format(model=name + ".{model}"), mode=mode)
    return {f"{name}.{part}": definition for part, definition in schema.pop("$defs", {}).items()} | {name: schema}


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document["components"]["schemas"]
    error = {"description": "Error", "content": {"application/json": {"schema": schema_ref(ErrorBody)}}}
    for model in _DECLARED.values():
        schemas.update(_schemas(model))
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {"4XX": error, "5XX": error}
    document["components"]["securitySchemes"] = {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"ApiKeyAuth": []}, {}]  # a server without keys in its settings requires none
    return document
