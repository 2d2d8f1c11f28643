"""Bytes → lines → JSON values, one line at a time.

Lines end at b"\\n" and nowhere else: `str.splitlines` would also cut at U+2028, which is legal inside a JSON string.
A line that cannot be parsed raises a `FindingError` with its number.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_CUR, FileIO
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import orjson

from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.syntax_diagnosis import diagnose

MAX_DEPTH = 100  # far beyond any conversation, and far below Python's recursion limit, which later stages need
MAX_LINE_BYTES = 16 * 2**20  # far beyond any context; the objects parsed from such a line still fit into a small RAM
_BLOCK_BYTES = 512 * 1024  # fits into the CPU cache; MAX_LINE_BYTES is this times a power of two
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BINARY_FORMATS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"))
_DIGITS = bytes(ord("0") if 48 <= byte <= 57 else byte for byte in range(256))
_MANY_DIGITS = b"0" * 19  # an integer that may not fit into 64 bits
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a surrogate; valid pairs match too


class _UncertainError(Exception):
    """orjson may have parsed a line differently from `parse_json`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank: its number from 1, its bytes, and the offset of its end in the file.

    `raw` excludes the byte order mark of the first line and the line ending (b"\\n" or b"\\r\\n"). A line longer than
    `MAX_LINE_BYTES` is `is_truncated`, and `raw` is its beginning.
    """

    number: int
    raw: bytes
    end_bytes: int
    is_truncated: bool = False


class Block(NamedTuple):
    """Whole lines, each with its line feed, in a writable buffer that is valid until the next block is read.

    `end_bytes` is the offset of the block's end in the file. A line longer than `MAX_LINE_BYTES` is alone in its block,
    which is `is_truncated` and has only the beginning of the line.
    """

    lines: memoryview
    end_bytes: int
    is_truncated: bool = False


def read_blocks(path: Path) -> Iterator[Block]:
    """The file in blocks, without its byte order mark; a missing last line feed is added.

    Raises `FindingError` for UTF-16, gzip and zip, and `OSError` as `open` does.
    """
    with path.open("rb", buffering=0) as file:
        _refuse_binary(start := file.read(4))
        file.seek(len(_BYTE_ORDER_MARK) if start.startswith(_BYTE_ORDER_MARK) else 0)
        buffer, carried, end_bytes = bytearray(_BLOCK_BYTES), 0, file.tell()
        while count := file.readinto(memoryview(buffer)[carried:]):
            filled = carried + count
            end_bytes += count
            end = buffer.rfind(b"\n", carried, filled) + 1
            if not end and filled == len(buffer) < MAX_LINE_BYTES:  # a long line: double the buffer, no block yet
                buffer, carried = buffer + bytes(len(buffer)), filled
                continue
            if not end and filled == len(buffer):
                end_bytes += _skip_line(file)
                buffer[-1:] = b"\n"
                yield Block(memoryview(buffer), end_bytes, is_truncated=True)
                carried = 0
                continue
            if end:
                yield Block(memoryview(buffer)[:end], end_bytes - (filled - end))
            carried = filled - end
            buffer[:carried] = buffer[end:filled]
        if carried:
            yield Block(memoryview(buffer[:carried] + b"\n"), end_bytes)


def _skip_line(file: FileIO) -> int:
    """Skips the rest of the line; returns its number of bytes."""
    skipped = 0
    while piece := file.read(_BLOCK_BYTES):
        end = piece.find(b"\n") + 1
        skipped += end or len(piece)
        if end:
            file.seek(end - len(piece), SEEK_CUR)
            break
    return skipped


def read_lines(path: Path) -> Iterator[Line]:
    """The lines that are not blank. Raises as `read_blocks` does."""
    number = 0
    for block in read_blocks(path):
        end_bytes = block.end_bytes - len(block.lines)
        for raw in split_lines(block.lines):
            number += 1
            end_bytes += len(raw) + 1
            if raw and not raw.isspace():
                # The last line may end with an added line feed that the file does not have.
                yield Line(number, raw.removesuffix(b"\r"), min(end_bytes, block.end_bytes), block.is_truncated)


def split_lines(lines: memoryview) -> list[bytes]:
    """Whole lines, each without its line feed."""
    return bytes(lines).split(b"\n")[:-1]


def parse_line(line: Line) -> Any:
    """The JSON value of a line; raises `FindingError` with the line's number."""
    if line.is_truncated:
        raise FindingError(make_finding("line_too_long", detail=f"{MAX_LINE_BYTES // 2**20} MiB").at(line.number))
    try:
        return _parse_fast(line.raw)
    except (orjson.JSONDecodeError, _UncertainError):
        pass
    try:
        return parse_json(_decode(line.raw))
    except FindingError as error:
        raise FindingError(error.finding.at(line.number)) from None


def _parse_fast(raw: bytes) -> Any:
    """The value by orjson, where it is certain that `parse_json` would return the same. Raises orjson's error, or
    _UncertainError.

    orjson keeps the last of two equal keys, accepts any depth, and reads large integers as inexact numbers. A lost key
    is recognised by counting: the serialized value has fewer `":` than the line. That is certain if nothing separates
    a key from its colon and no quotation mark is written as \\u0022.
    """
    value = orjson.loads(raw)
    if b"\\u" in raw or b" :" in raw or b"\t:" in raw or _MANY_DIGITS in raw.translate(_DIGITS):
        raise _UncertainError
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _UncertainError
    if raw.count(b'":') != orjson.dumps(value).count(b'":'):
        raise _UncertainError
    return value


def parse_json(text: str, *, with_nan: bool = False) -> Any:
    """A standard JSON value: no infinity, no lone surrogate as an escape, no equal keys, at most `MAX_DEPTH` levels of
    nesting; NaN only `with_nan`.
    """
    try:
        value = (_DECODER_OF_NAN if with_nan else _DECODER).decode(text)
    except RecursionError:
        raise FindingError(make_finding("nesting_too_deep", detail=str(MAX_DEPTH))) from None
    except json.JSONDecodeError as error:
        raise FindingError(diagnose(text, error)) from None
    except ValueError:  # an integer with more digits than Python converts
        raise FindingError(make_finding("number_invalid", value="a number of thousands of digits")) from None
    # Counting brackets is cheap, and a text with few of them is not deeply nested.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise FindingError(make_finding("nesting_too_deep", detail=str(MAX_DEPTH)))
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise FindingError(make_finding("lone_surrogate"))
    return value


def fingerprint(value: Any) -> bytes:
    """A 16-byte hash of a JSON value that ignores the order of keys."""
    try:
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer of more than 64 bits
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.blake2b(canonical, digest_size=16).digest()


def _refuse_binary(start: bytes) -> None:
    names = [name for magic, name in _BINARY_FORMATS if start.startswith(magic)]
    if b"\x00" in start[:2]:  # UTF-16 without a mark: ASCII characters with zero bytes between them
        names.append("UTF-16")
    if names:
        raise FindingError(make_finding("encoding_invalid", value=names[0]).at(1))


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = "" if joined_halves(raw) is None else "halves"
        finding = make_finding("encoding_invalid", value=f"0x{raw[error.start]:02x}", detail=detail)
        raise FindingError(finding) from None


def joined_halves(raw: bytes) -> str | None:
    """Decodes UTF-8 or CESU-8, which encodes each character beyond U+FFFF as two surrogates; None for other bytes."""
    try:
        return raw.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise FindingError(make_finding("number_invalid", value=name))


def _nan(name: str) -> float:
    return math.nan if name == "NaN" else _refuse_constant(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise FindingError(make_finding("number_invalid", value=text))
    return number


def _depth(value: Any) -> int:
    """The levels of nesting, counted without recursion."""
    level, depth = [value], 0
    while level := [node for node in level if isinstance(node, dict | list)]:
        depth += 1
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
    return depth


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        duplicate = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise FindingError(make_finding("duplicate_key", key=duplicate))
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object)
_DECODER_OF_NAN = json.JSONDecoder(parse_constant=_nan, parse_float=_finite, object_pairs_hook=_object)
