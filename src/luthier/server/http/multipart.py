"""Multipart bodies: one file and the fields beside it. Large files are spooled to disk, never held in memory."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from typing import IO, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from luthier.server.http.pydantic_errors import validated
from luthier.types.errors import BadRequestError, PayloadTooLargeError

_Fields = TypeVar("_Fields", bound=BaseModel)


@asynccontextmanager
async def parse_form(
    request: Request, file_field: str, fields: type[_Fields]
) -> AsyncIterator[tuple[UploadFile, _Fields]]:
    """The file in `file_field` and the other fields; the file is closed when the block ends.

    Raises BadRequestError.
    """
    _check_content_type(request, [file_field, *fields.model_fields])
    async with request.form(max_files=1, max_fields=8) as form:
        values = {key: value for key, value in form.items() if key != file_field}
        yield _file(form, file_field), validated(fields, values)


def _check_content_type(request: Request, fields: list[str]) -> None:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != "multipart/form-data":
        names = ", ".join(f"`{field}`" for field in fields if "_after_" not in field)
        raise BadRequestError(f"This request is sent as multipart/form-data, with the fields {names}.")
    if header.get_content_charset("utf-8") not in ("utf-8", "utf8"):  # some others can encode a lone surrogate
        raise BadRequestError("The names and fields of this form are to be in UTF-8.")


def _file(form: FormData, name: str) -> UploadFile:
    upload = form.get(name)
    if not isinstance(upload, UploadFile):
        message = f"Missing required parameter: '{name}'."
        raise BadRequestError(message, param=name, code="missing_required_parameter")
    upload.filename = _decoded_name(upload.filename or "")
    return upload


def _decoded_name(name: str) -> str:
    """.NET's HttpClient sends a name beyond ASCII as a mail header's encoded word."""
    if not (name.startswith("=?") and name.endswith("?=")):
        return name
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, ValueError):
        return name


def check_size(size_bytes: int, limit_bytes: int, what: str, param: str) -> None:
    if size_bytes > limit_bytes:
        raise PayloadTooLargeError(f"{what} is larger than {limit_bytes:,} bytes.", param=param, code="file_too_large")


def blob_writer(upload: UploadFile) -> Callable[[IO[bytes]], None]:
    """A function that copies the uploaded file into a blob."""
    return lambda out: shutil.copyfileobj(upload.file, out, 1024 * 1024)
