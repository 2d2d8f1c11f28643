"""Multipart bodies: one file and the fields beside it.

The file is written once, into the folder of its later blob, and never held in memory.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from luthier.server.http.pydantic_errors import validated
from luthier.types.errors import BadRequestError, PayloadTooLargeError

_Fields = TypeVar("_Fields", bound=BaseModel)
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*\"?utf-8'[^']*'([^;\s\"]+)", re.IGNORECASE)
_NAMES = re.compile(rb";\s*filename\*?\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^;\s]*)", re.IGNORECASE)


@asynccontextmanager
async def parse_form(
    request: Request, file_field: str, fields: type[_Fields], folder: Path
) -> AsyncIterator[tuple[UploadFile, _Fields]]:
    """The file in `file_field`, stored in `folder` until the block ends, and the other fields.

    Raises BadRequestError.
    """
    _check_content_type(request, [file_field, *fields.model_fields])
    try:
        form = await _Parser(request, folder).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        values = {key: value for key, value in form.items() if key != file_field}
        yield _file(form, file_field), validated(fields, values)
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Writes the file directly to `folder`; Starlette's parser would spool it to another disk and copy it from
    there."""

    def __init__(self, request: Request, folder: Path) -> None:
        super().__init__(request.headers, cast(Any, request.stream()), max_files=1, max_fields=8)
        self._folder = folder

    def on_headers_finished(self) -> None:
        if self._current_part.content_disposition:
            self._current_part.content_disposition = _with_plain_name(self._current_part.content_disposition)
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            upload.file.close()  # empty so far
            file = NamedTemporaryFile(dir=self._folder, prefix=".new-")  # noqa: SIM115 - closed with the form
            upload.file = cast(BinaryIO, file)
            self._files_to_close_on_error.append(cast(Any, file))


def _with_plain_name(disposition: bytes) -> bytes:
    """`filename*`, which .NET sends and forms should not have (RFC 7578), as `filename`."""
    match = _EXTENDED_NAME.search(disposition)
    if match is None:
        return disposition
    name = re.sub(rb"[\x00-\x1f\x7f]", b"_", unquote_to_bytes(match[1])).replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return _NAMES.sub(b"", disposition) + b'; filename="' + name + b'"'


def _check_content_type(request: Request, fields: list[str]) -> None:
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != "multipart/form-data":
        names = ", ".join(f"`{field}`" for field in fields if "_after_" not in field)
        raise BadRequestError(f"Send this request as multipart/form-data, with the fields {names}.")
    if header.get_content_charset("utf-8") not in ("utf-8", "utf8"):  # some others can encode a lone surrogate
        raise BadRequestError("The names and fields of this form must be encoded in UTF-8.")


def _file(form: FormData, name: str) -> UploadFile:
    upload = form.get(name)
    if not isinstance(upload, UploadFile):
        message = f"Missing required parameter: '{name}'."
        raise BadRequestError(message, param=name, code="missing_required_parameter")
    upload.filename = _decoded_name(upload.filename or "")
    return upload


def _decoded_name(name: str) -> str:
    """Decode a non-ASCII name, which .NET's HttpClient sends as an encoded word of mail headers."""
    if not (name.startswith("=?") and name.endswith("?=")):
        return name
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, ValueError):
        return name


def check_size(size_bytes: int, limit_bytes: int, what: str, param: str) -> None:
    if size_bytes > limit_bytes:
        raise PayloadTooLargeError(f"{what} is larger than {limit_bytes:,} bytes.", param=param, code="file_too_large")


async def stored_at(upload: UploadFile) -> Path:
    """Where the whole content of the uploaded file is, until the form is closed."""
    await run_in_threadpool(upload.file.flush)
    return Path(upload.file.name)
