"""`/openapi.json`: the document that FastAPI makes from the routes, completed where it cannot look.

Bodies that a route reads by hand are declared on the route with `reads`; errors are OpenAI's body, not FastAPI's.
Knows nothing about what the routes do.
"""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from luthier.types.common import Response
from luthier.types.error_body import ErrorBody

_REF = "#/components/schemas/{model}"
_READ: dict[str, type[BaseModel]] = {}  # what routes read or answer beyond what FastAPI sees of them


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the model's schema, which the document then holds."""
    _READ[model.__name__] = model
    return {"$ref": _REF.format(model=model.__name__)}


def reads(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its JSON body by hand."""
    return _body("application/json", schema_of(model))


def reads_form(file: str, model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a form by hand: a file, and the fields of `model` beside it."""
    form = model.model_json_schema()
    form["properties"] = {file: {"type": "string", "format": "binary"}} | form["properties"]
    return _body("multipart/form-data", form | {"required": [file, *form.get("required", [])]})


def streams(chunk: type[BaseModel]) -> dict[str, Any]:
    """`content` of a response that may also come as server-sent events, each with a chunk as its data."""
    return {"text/event-stream": {"schema": schema_of(chunk)}}


def _body(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """After all routes: the document is made at the first request for it, and kept."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _with_parts(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema and those of its parts, whose names begin with its own: other models may have a `TextPart`."""
    name = model.__name__
    mode: Literal["validation", "serialization"] = "serialization" if issubclass(model, Response) else "validation"
    schema = model.model_json_schema(ref_template=_REF.format(model=name + ".{model}"), mode=mode)
    return {f"{name}.{part}": of for part, of in schema.pop("$defs", {}).items()} | {name: schema}


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = made["components"]["schemas"]
    error = {"description": "Error", "content": {"application/json": {"schema": schema_of(ErrorBody)}}}
    for model in _READ.values():
        schemas.update(_with_parts(model))
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {"4XX": error, "5XX": error}
    made["components"]["securitySchemes"] = {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"ApiKeyAuth": []}, {}]  # without keys in its settings a server asks for none
    return made
