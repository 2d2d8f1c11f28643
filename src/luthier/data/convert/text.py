"""Bytes in any wrapping → UTF-8 with line feeds: gzip, UTF-16, GBK, the ends of lines on an old Macintosh.

Knows nothing of JSON. Workbooks are left alone: what is in them is another's to read.
"""

import codecs
import gzip
import shutil
from pathlib import Path
from typing import IO, NamedTuple

from charset_normalizer import from_bytes

from luthier.data.findings import FindingError, problem

HEAD_BYTES = 1024 * 1024
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_MARKS = (  # the longer one first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Text(NamedTuple):
    """Where the UTF-8 text is (the file itself, if it was that), and what it was before, step by step."""

    path: Path
    steps: list[str]
    has_mark: bool


def open_text(path: Path, encoding: str | None, folder: Path) -> Text:
    """The file as UTF-8; what has to be written is written into `folder`. Raises `FindingError`."""
    steps = []
    if _head(path, 2) == _GZIP:
        path = _unpacked(path, folder / "unpacked")
        steps.append("gzip")
    head = _head(path, HEAD_BYTES)
    if head.startswith(_ZIP):
        return Text(path, steps, has_mark=False)
    name = encoding or _encoding_of(head)
    has_mark = name == "utf-8" and head.startswith(codecs.BOM_UTF8)
    returns = _ends_with_returns(head if name == "utf-8" else head.decode(name, "replace").encode(errors="replace"))
    if name == "utf-8" and not returns:
        return Text(path, steps, has_mark)
    if name != "utf-8":
        steps.append(name.upper())
    if returns:
        steps.append("CR line ends")
    return Text(_rewritten(path, name, returns, folder / "text"), steps, has_mark)


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _unpacked(path: Path, out: Path) -> Path:
    try:
        with gzip.open(path) as packed, out.open("wb") as file:
            shutil.copyfileobj(packed, file, HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise FindingError(problem("encoding_invalid", seen=f"gzip, {error}")) from error
    return out


def _rewritten(path: Path, encoding: str, returns: bool, out: Path) -> Path:
    """In pieces, so that size does not matter."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as source, out.open("wb") as file:
        while True:
            piece = source.read(HEAD_BYTES)
            _write(file, _decoded(decoder, piece, encoding), returns)
            if not piece:
                return out


def _decoded(decoder: codecs.IncrementalDecoder, piece: bytes, encoding: str) -> str:
    try:
        return decoder.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        wrong = f"{encoding.upper()}, 0x{error.object[error.start]:02x}"
        raise FindingError(problem("encoding_ambiguous", seen=wrong)) from None


def _write(file: IO[bytes], text: str, returns: bool) -> None:
    file.write((text.replace("\r", "\n") if returns else text).removeprefix("\ufeff").encode(errors="surrogatepass"))


def _ends_with_returns(head: bytes) -> bool:
    """Only returns, no line feeds, and more than one of JSON's objects or a table's rows between them."""
    return b"\n" not in head and b"\r" in head.strip()


def _encoding_of(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head[1:2] == b"\0" and head[:1] not in (b"", b"\0"):  # ASCII characters with a zero byte after each
        return "utf-16-le"
    if head[:1] == b"\0" and head[1:2] not in (b"", b"\0"):
        return "utf-16-be"
    try:
        codecs.utf_8_decode(head, "strict", len(head) < HEAD_BYTES)
    except UnicodeDecodeError as error:
        if _is_mostly_utf8(head):  # one bad line in a long file: the check names it
            return "utf-8"
        if _is_chinese(head):
            return "gb18030"
        guess = from_bytes(head[: 64 * 1024]).best()
        seen = f"0x{head[error.start]:02x}" + (f", {guess.encoding}?" if guess else "")
        raise FindingError(problem("encoding_ambiguous", seen=seen)) from None
    return "utf-8"


def _is_mostly_utf8(head: bytes) -> bool:
    """Whether characters of UTF-8 so outnumber what is none that the file means to be UTF-8."""
    beyond = [char for char in head.decode("utf-8", "replace") if char > "\x7f"]
    return beyond.count("\ufffd") * 10 < len(beyond)


def _is_chinese(head: bytes) -> bool:
    """Whether the bytes read as GBK do so as Chinese: nearly all of them the common characters of GB 2312, level 1.

    Text of Big5 and accented letters of Latin-1 decode as GBK too, into rare characters; Korean fills only the rows up
    to 0xC8, of which Chinese uses half; Japanese has its kana in row 0xA4.
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
