"""Bytes in any encoding → UTF-8 with line feeds: gzip, UTF-16, GBK, carriage returns as line endings.

Workbooks and Parquet files are passed on unchanged; `forms` reads them.
"""

import codecs
import gzip
import re
from pathlib import Path
from typing import IO, NamedTuple

from luthier.data.convert.workbooks import PARQUET, refuse_binary, require_expansion
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import joined_halves

HEAD_BYTES = 1024 * 1024
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_BYTE_ORDER_MARKS = (  # longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.{1,200}?)</title", re.IGNORECASE | re.DOTALL)


class Text(NamedTuple):
    """A UTF-8 file (the original, if it is UTF-8), and the names of the formats that it was converted from."""

    path: Path
    conversions: list[str]
    has_byte_order_mark: bool


def open_text(path: Path, encoding: str | None, folder: Path) -> Text:
    """The file as UTF-8; converted files are written to `folder`. Raises `FindingError`."""
    conversions = []
    if _head(path, 2) == _GZIP:
        path = _decompressed(path, folder / "decompressed")
        conversions.append("gzip")
    head = _head(path, HEAD_BYTES)
    refuse_binary(path, head)
    _refuse_substitutes(head)
    if head.startswith((_ZIP, PARQUET)):
        return Text(path, conversions, has_byte_order_mark=False)
    name = encoding or _encoding_of(head)
    has_mark = name == "utf-8" and head.startswith(codecs.BOM_UTF8)
    returns = _ends_with_returns(head if name == "utf-8" else head.decode(name, "replace").encode(errors="replace"))
    if name == "utf-8" and not returns:
        return Text(path, conversions, has_mark)
    if name != "utf-8":
        conversions.append(name.upper())
    if returns:
        conversions.append("CR line endings")
    return Text(_rewritten(path, name, returns, folder / "text"), conversions, has_mark)


def _refuse_substitutes(head: bytes) -> None:
    """Raises `FindingError` for a Git LFS pointer or a web page, which downloads may leave in place of the data."""
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise FindingError(make_finding("format_unsupported", detail="pointer"))
    if _PAGE.match(head):
        title = _TITLE.search(head)
        value = (title[1] if title else head[:80]).decode("utf-8", "replace")
        raise FindingError(make_finding("format_unsupported", value=" ".join(value.split()), detail="page"))


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _decompressed(path: Path, out: Path) -> Path:
    try:
        with gzip.open(path) as source, out.open("wb") as file:
            while chunk := source.read(HEAD_BYTES):
                file.write(chunk)
                require_expansion(path, file.tell(), "gzip")
    except (EOFError, gzip.BadGzipFile, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise FindingError(make_finding("file_damaged", value="gzip", detail=str(error))) from error
    return out


def _rewritten(path: Path, encoding: str, returns: bool, out: Path) -> Path:
    """Converts the file in chunks, so that memory does not grow with it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as source, out.open("wb") as file:
        while True:
            chunk = source.read(HEAD_BYTES)
            _write(file, _decoded(decoder, chunk, encoding), returns)
            if not chunk:
                return out


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, encoding: str) -> str:
    try:
        return decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        position = f"{encoding.upper()}, 0x{error.object[error.start]:02x}"
        raise FindingError(make_finding("encoding_ambiguous", value=position)) from None


def _write(file: IO[bytes], text: str, returns: bool) -> None:
    file.write((text.replace("\r", "\n") if returns else text).removeprefix("\ufeff").encode(errors="surrogatepass"))


def _ends_with_returns(head: bytes) -> bool:
    """Whether the lines end with a carriage return only."""
    return b"\n" not in head and b"\r" in head.strip()


def _encoding_of(head: bytes) -> str:
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    if head[1:2] == b"\0" and head[:1] not in (b"", b"\0"):  # ASCII characters with a zero byte after each
        return "utf-16-le"
    if head[:1] == b"\0" and head[1:2] not in (b"", b"\0"):
        return "utf-16-be"
    try:
        codecs.utf_8_decode(head, "strict", len(head) < HEAD_BYTES)
    except UnicodeDecodeError as error:
        lines = head.rpartition(b"\n")[0] or head
        if _is_mostly_utf8(head) or joined_halves(lines) is not None:  # the check reports the bad lines
            return "utf-8"
        if _is_chinese(head):
            return "gb18030"
        from charset_normalizer import from_bytes  # takes time to import, and most files are UTF-8

        guess = from_bytes(head[: 64 * 1024]).best()
        excerpt = f"0x{head[error.start]:02x}" + (f", {guess.encoding}?" if guess else "")
        raise FindingError(make_finding("encoding_ambiguous", value=excerpt)) from None
    return "utf-8"


def _is_mostly_utf8(head: bytes) -> bool:
    """Whether so many characters or lines are valid that the file is meant to be UTF-8."""
    non_ascii = [char for char in head.decode("utf-8", "replace") if char > "\x7f"]
    if non_ascii.count("\ufffd") * 10 < len(non_ascii):
        return True
    lines = [line for line in head.split(b"\n") if not line.isascii()]
    return sum(map(_is_utf8, lines)) * 2 > len(lines)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_chinese(head: bytes) -> bool:
    """Whether the bytes, decoded as GBK, are Chinese: nearly all of them common characters of GB 2312, level 1.

    Big5 text and accented letters of Latin-1 also decode as GBK, but to rare characters. Korean uses only the rows up
    to 0xC8, which are half of those of Chinese; Japanese has its kana in row 0xA4.
    """
    text = head.decode("gb18030", "ignore")
    pairs = [char.encode("gb18030") for char in text[: 64 * 1024] if char > "\x7f"]
    two = [pair for pair in pairs if len(pair) == 2]
    if len(two) < max(1, 0.98 * len(pairs)):
        return False
    common = sum(0xB0 <= lead <= 0xD7 and trail >= 0xA1 for lead, trail in two)
    signs = sum(lead in (0xA1, 0xA3) and trail >= 0xA1 for lead, trail in two)
    upper_rows = sum(0xC9 <= lead <= 0xD7 and trail >= 0xA1 for lead, trail in two)
    return common + signs >= 0.9 * len(two) and upper_rows >= 0.1 * common > 0
