"""Bytes → lines → JSON values, one line at a time.

Lines end at b"\\n" and nowhere else: `str.splitlines` would also cut at U+2028, which is legal inside a JSON string.
This module knows JSON and nothing of examples; what it cannot read it raises as a `FindingError` that names the line.
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

from luthier.data.findings import FindingError, problem
from luthier.data.jsonl.syntax_diagnosis import fault

MAX_DEPTH = 100  # far beyond any conversation, and far below what Python's own recursion allows later readers
MAX_LINE_BYTES = 16 * 2**20  # far beyond any context; what is made of such a line still fits into a small memory
_BLOCK_BYTES = 256 * 1024  # fits into a processor's cache, and MAX_LINE_BYTES is a power of two times this
_BOM = b"\xef\xbb\xbf"
_FOREIGN = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"))
_NOT_CERTAIN = orjson.JSONDecodeError("not certain", "", 0)
_DIGITS = bytes(ord("0") if 48 <= byte <= 57 else byte for byte in range(256))
_MANY_DIGITS = b"0" * 19  # an integer that may not fit into 64 bits
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of one half of a character; whole pairs match too


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank: its number in the file from 1, its bytes, and the file's bytes up to its end.

    `raw` is without the byte order mark of the first line and without the line ending (b"\\n" or b"\\r\\n"). Of a line
    longer than `MAX_LINE_BYTES` it is the beginning, and the line is `cut`.
    """

    number: int
    raw: bytes
    end_bytes: int
    cut: bool = False


class Block(NamedTuple):
    """Whole lines, each with its line feed, that can be written to and live until the next block is asked for.

    `end_bytes`: the file's bytes up to the block's end. Of a line longer than `MAX_LINE_BYTES` only the beginning is
    there, alone in its block, and the block is `cut`.
    """

    lines: memoryview
    end_bytes: int
    cut: bool = False


def read_blocks(path: Path) -> Iterator[Block]:
    """The file without its byte order mark; a last line without a line feed is given one.

    Raises `FindingError` at once on UTF-16, gzip and zip, `OSError` as `open` does.
    """
    with path.open("rb", buffering=0) as file:
        _refuse_foreign(start := file.read(4))
        file.seek(len(_BOM) if start.startswith(_BOM) else 0)
        buffer, kept, end_bytes = bytearray(_BLOCK_BYTES), 0, file.tell()
        while count := file.readinto(memoryview(buffer)[kept:]):
            filled = kept + count
            end_bytes += count
            end = buffer.rfind(b"\n", kept, filled) + 1
            if not end and filled == len(buffer) < MAX_LINE_BYTES:  # a long line: more room, and no block yet
                buffer, kept = buffer + bytes(len(buffer)), filled
                continue
            if not end and filled == len(buffer):
                end_bytes += _skip_line(file)
                buffer[-1:] = b"\n"
                yield Block(memoryview(buffer), end_bytes, cut=True)
                kept = 0
                continue
            if end:
                yield Block(memoryview(buffer)[:end], end_bytes - (filled - end))
            kept = filled - end
            buffer[:kept] = buffer[end:filled]
        if kept:
            yield Block(memoryview(buffer[:kept] + b"\n"), end_bytes)


def _skip_line(file: FileIO) -> int:
    """Read on to the end of the line; returns how many bytes that were."""
    skipped = 0
    while piece := file.read(_BLOCK_BYTES):
        end = piece.find(b"\n") + 1
        skipped += end or len(piece)
        if end:
            file.seek(end - len(piece), SEEK_CUR)
            break
    return skipped


def read_lines(path: Path) -> Iterator[Line]:
    """The lines that are not blank; raises as `read_blocks` does."""
    number = 0
    for block in read_blocks(path):
        end_bytes = block.end_bytes - len(block.lines)
        for raw in split_lines(block.lines):
            number += 1
            end_bytes += len(raw) + 1
            if raw and not raw.isspace():
                # The last line may have been given a line feed that the file does not have.
                yield Line(number, raw.removesuffix(b"\r"), min(end_bytes, block.end_bytes), block.cut)


def split_lines(lines: memoryview) -> list[bytes]:
    """Whole lines, each without its line feed."""
    return bytes(lines).split(b"\n")[:-1]


def parse_line(line: Line) -> Any:
    """The JSON value of a line; raises `FindingError` with the line's number."""
    if line.cut:
        raise FindingError(problem("line_too_long", detail=f"{MAX_LINE_BYTES // 2**20} MiB").at(line.number))
    try:
        return _quickly(line.raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return parse_json(_decode(line.raw))
    except FindingError as error:
        raise FindingError(error.finding.at(line.number)) from None


def _quickly(raw: bytes) -> Any:
    """What `parse_json` would return, by a faster library, where that is certain; else raises its error.

    The library takes the last of two equal keys, any depth, and large integers as inexact numbers. Written again, the
    value has as many `":` as the line if no key was lost, provided that nothing stands between a key and its colon and
    no quotation mark was written as \\u0022: each lost key, and each in a lost value, makes the line's number greater.
    """
    value = orjson.loads(raw)
    if b"\\u" in raw or b" :" in raw or b"\t:" in raw or _MANY_DIGITS in raw.translate(_DIGITS):
        raise _NOT_CERTAIN
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _NOT_CERTAIN
    if raw.count(b'":') != orjson.dumps(value).count(b'":'):
        raise _NOT_CERTAIN
    return value


def parse_json(text: str) -> Any:
    """A JSON value as the standard has it: no NaN, no infinity, no half characters, at most `MAX_DEPTH` levels."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise FindingError(problem("nesting_too_deep", detail=str(MAX_DEPTH))) from None
    except json.JSONDecodeError as error:
        raise FindingError(fault(text, error)) from None
    except ValueError:  # an integer of more digits than Python converts
        raise FindingError(problem("number_invalid", seen="a number of thousands of digits")) from None
    # Counting brackets is cheap, and a text with few of them cannot be deep.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise FindingError(problem("nesting_too_deep", detail=str(MAX_DEPTH)))
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise FindingError(problem("lone_surrogate"))
    return value


def fingerprint(value: Any) -> bytes:
    """16 bytes that two JSON values share only if they are equal, whatever the order of their keys."""
    try:
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer of more than 64 bits
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.blake2b(canonical, digest_size=16).digest()


def _refuse_foreign(start: bytes) -> None:
    names = [name for magic, name in _FOREIGN if start.startswith(magic)]
    if b"\x00" in start[:2]:  # UTF-16 without a mark: ASCII characters with zero bytes between them
        names.append("UTF-16")
    if names:
        raise FindingError(problem("encoding_invalid", seen=names[0]).at(1))


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FindingError(problem("encoding_invalid", seen=f"0x{raw[error.start]:02x}")) from None


def _refuse_constant(name: str) -> NoReturn:
    raise FindingError(problem("number_invalid", seen=name))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise FindingError(problem("number_invalid", seen=text))
    return number


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
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
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise FindingError(problem("duplicate_key", key=twice))
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object)
