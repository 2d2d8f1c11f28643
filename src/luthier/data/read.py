"""Bytes → lines → JSON values, one line at a time.

Lines end at b"\\n" and nowhere else: `str.splitlines` would also cut at U+2028, which is legal inside a JSON string.
This module knows JSON and nothing of examples; what it cannot read it raises as a `FindingError` that names the line.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from luthier.data.findings import FindingError, problem

MAX_DEPTH = 100  # far beyond any conversation, and far below what Python's own recursion allows later readers
_BOM = b"\xef\xbb\xbf"
_FOREIGN = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x1f\x8b", "gzip"), (b"PK\x03\x04", "zip"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of one half of a character; whole pairs match too


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank: its number in the file from 1, its bytes, and the file's bytes up to its end.

    `raw` is without the byte order mark of the first line and without the line ending (b"\\n" or b"\\r\\n").
    """

    number: int
    raw: bytes
    end_bytes: int


def read_lines(path: Path) -> Iterator[Line]:
    """The lines that are not blank. Raises `FindingError` at once on UTF-16, gzip and zip, `OSError` as `open` does."""
    end_bytes = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            end_bytes += len(raw)
            if number == 1:
                _refuse_foreign(raw)
                raw = raw.removeprefix(_BOM)
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")
            if raw and not raw.isspace():
                yield Line(number, raw, end_bytes)


def parse_line(line: Line) -> Any:
    """The JSON value of a line; raises `FindingError` with the line's number."""
    try:
        return parse_json(_decode(line.raw))
    except FindingError as error:
        raise FindingError(error.finding.at(line.number)) from None


def parse_json(text: str) -> Any:
    """A JSON value as the standard has it: no NaN, no infinity, no half characters, at most `MAX_DEPTH` levels."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise FindingError(problem("nesting_too_deep", detail=str(MAX_DEPTH))) from None
    except json.JSONDecodeError as error:
        raise FindingError(problem("json_invalid", seen=text, detail=str(error.pos + 1))) from None
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
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode("ascii"), digest_size=16).digest()


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


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
