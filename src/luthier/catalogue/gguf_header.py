"""The header of a GGUF file, read before its conversion.

The reader of the package gguf trusts all lengths: a file of one kilobyte that declares an array of 2**40 numbers makes
it run forever with unlimited memory. Here no length may exceed the end of the file.
"""

import mmap
import struct
from math import prod
from pathlib import Path
from typing import NamedTuple

from luthier.language import say
from luthier.types.errors import BaseModelError

_MAGIC = b"GGUF"
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by type of value
_STRING, _ARRAY = 8, 9
_MAX_DEPTH, _MAX_DIMENSIONS = 4, 4


class GgufHeader(NamedTuple):
    """`licence`: empty if the file does not state one."""

    parameters: int
    licence: str


def read_header(file: Path) -> GgufHeader:
    """Raises BaseModelError for a file that is not GGUF, or is damaged."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(content)
    except (OSError, ValueError, struct.error) as error:
        raise BaseModelError(
            say(f"{file.name} is not a readable GGUF file: {error}", f"{file.name} 不是可读的 GGUF 文件：{error}")
        ) from error


def _read(content: mmap.mmap) -> GgufHeader:
    cursor = _Cursor(content)
    tensors, entries = cursor.number("Q"), cursor.number("Q")
    licence = b""
    for _ in range(entries):
        key, value = cursor.text(), cursor.value(cursor.number("I"))
        if key == b"general.license":
            licence = value
    parameters = 0
    for _ in range(tensors):
        cursor.text()
        dimensions = cursor.number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        parameters += prod(cursor.number("Q") for _ in range(dimensions))
        cursor.skip(4 + 8)  # type, and offset of the data
    return GgufHeader(parameters, licence.decode("utf-8", "replace"))


class _Cursor:
    """A place in the file, after magic and version. Every method raises ValueError or struct.error at its end."""

    def __init__(self, content: mmap.mmap) -> None:
        if content[:4] != _MAGIC:
            raise ValueError("it does not begin with GGUF")
        self._content, self._offset = content, 8
        is_little = struct.unpack_from("<I", content, 4)[0] <= 0xFFFF
        self._byte_order = "<" if is_little else ">"

    def number(self, form: str) -> int:
        """By the format character of `struct`."""
        value: int = struct.unpack_from(self._byte_order + form, self._content, self._offset)[0]
        self._offset += struct.calcsize(form)
        return value

    def skip(self, count: int) -> None:
        if count > len(self._content) - self._offset:
            raise ValueError("it ends early")
        self._offset += count

    def text(self) -> bytes:
        length = self.number("Q")
        self.skip(length)
        return self._content[self._offset - length : self._offset]

    def value(self, kind: int, depth: int = 0) -> bytes:
        """A string; other values are skipped, and empty."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY and depth < _MAX_DEPTH:
            element, length = self.number("I"), self.number("Q")
            if element in _SCALAR_BYTES:
                self.skip(_SCALAR_BYTES[element] * length)
                return b""
            for _ in range(length):  # each takes some bytes of the file
                self.value(element, depth + 1)
            return b""
        if kind not in _SCALAR_BYTES:
            raise ValueError(f"a value of the type {kind}")
        self.skip(_SCALAR_BYTES[kind])
        return b""
