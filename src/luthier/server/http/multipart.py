"""Multipart bodies: one file and the fields beside it. What is large goes to disk as it comes, never into memory."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import Message
from typing import IO, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from luthier.server.http.pydantic_errors import validated
from luthier.types.errors import BadRequestError, PayloadTooLargeError

_Fields = TypeVar("_Fields", bound=BaseModel)


@asynccontextmanager
async def sent_file(request: Request, name: str, fields: type[_Fields]) -> AsyncIterator[tuple[UploadFile, _Fields]]:
    """The file in the field `name` and the other fields, both gone when the block ends. Raises BadRequestError."""
    sent = Message()
    sent["content-type"] = request.headers.get("content-type", "")
    if sent.get_content_type() != "multipart/form-data":
        wanted = ", ".join(f"`{field}`" for field in (name, *fields.model_fields) if "_after_" not in field)
        raise BadRequestError(f"This request is sent as multipart/form-data, with the fields {wanted}.")
    if sent.get_content_charset("utf-8") not in ("utf-8", "utf8"):  # some others can write half a character
        raise BadRequestError("The names and fields of this form are to be in UTF-8.")
    async with request.form(max_files=1, max_fields=8) as form:
        yield _file(form, name), validated(fields, {key: value for key, value in form.items() if key != name})


def _file(form: FormData, name: str) -> UploadFile:
    upload = form.get(name)
    if not isinstance(upload, UploadFile):
        message = f"Missing required parameter: '{name}'."
        raise BadRequestError(message, param=name, code="missing_required_parameter")
    return upload


def check_size(size_bytes: int, limit_bytes: int, what: str, param: str) -> None:
    if size_bytes > limit_bytes:
        raise PayloadTooLargeError(f"{what} is larger than {limit_bytes:,} bytes.", param=param, code="file_too_large")


def copied(upload: UploadFile) -> Callable[[IO[bytes]], None]:
    """Fills a blob with what was sent."""
    return lambda out: shutil.copyfileobj(upload.file, out, 1024 * 1024)
