"""Binary tables → rows: XLSX by openpyxl, Parquet by pyarrow (an extra). Errors name other binary formats."""

import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import Any

from luthier.data.convert.tables import Row
from luthier.data.findings import FindingError, make_finding, printable

PARQUET = b"PAR1"
_ZIP = b"PK\x03\x04"
_NAMES = (  # magic bytes of unsupported formats
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel 97 (.xls) / Word 97 (.doc)"),
    (b"PK\x05\x06", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "RAR"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"%PDF-", "PDF"),
    (b"ARROW1", "Arrow"),
    (b"SQLite format 3", "SQLite"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x80\x02", "pickle"),
    (b"\x80\x04\x95", "pickle"),
    (b"\x89HDF", "HDF5"),
)
_ZIP_NAMES = (  # a member of the archive that identifies the format
    ("word/document.xml", "Word (.docx)"),
    ("ppt/presentation.xml", "PowerPoint (.pptx)"),
    ("xl/workbook.bin", "Excel (.xlsb)"),
    ("content.xml", "OpenDocument (.ods, .odt)"),
    ("Index/Document.iwa", "Numbers"),
)
_ROWS_AT_ONCE = 1024
_FREE_BYTES, _MAX_EXPANSION = 64 * 1024 * 1024, 200  # JSON lines compress to a fifth or a twentieth


def refuse_binary(path: Path, head: bytes) -> None:
    """Raises `FindingError`, with the name of the format, for an unsupported binary format. `head`: the first bytes."""
    name = next((name for magic, name in _NAMES if head.startswith(magic)), None)
    if name is None and head.startswith(_ZIP):
        name = _zip_format(path)
    if name:
        raise FindingError(make_finding("format_unsupported", value=name))


def require_expansion(path: Path, size_bytes: int, name: str) -> None:
    """Raises `FindingError` for a compressed file that expands so much that it may be meant to fill the disk."""
    if size_bytes > max(_FREE_BYTES, _MAX_EXPANSION * path.stat().st_size):
        raise FindingError(make_finding("expansion_too_large", value=name))


def _zip_format(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            size_bytes = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise _damaged("zip", error) from None
    require_expansion(path, size_bytes, "zip")
    if "xl/workbook.xml" in members:
        return None
    return next((name for member, name in _ZIP_NAMES if member in members), f"zip: {', '.join(members[:5])}")


def is_workbook(head: bytes) -> bool:
    """Whether a file that `refuse_binary` accepts is an XLSX workbook."""
    return head.startswith(_ZIP)


def workbook_rows(path: Path, sheet: str | None) -> Callable[[], Iterator[Row]]:
    """The rows of `sheet`, or of the only sheet that has any. Raises `FindingError` if there is no such sheet, or if
    several sheets have rows.
    """
    content = path.read_bytes()
    try:
        names = list(_worksheets(content))
        filled = [sheet] if sheet else [name for name in names if next(_filled_rows(content, name), None)]
    except Exception as error:  # openpyxl raises whatever its parts raise for a broken file
        raise _damaged("XLSX", error) from error
    if not names:
        raise _damaged("XLSX", ValueError("no sheets"))
    if sheet and sheet not in names:
        raise FindingError(make_finding("sheets_ambiguous", value=", ".join(names), detail="unknown name"))
    if len(filled) > 1:
        raise FindingError(make_finding("sheets_ambiguous", value=", ".join(filled)))
    name = filled[0] if filled else names[0]
    return lambda: _readable_rows(content, name)


def _worksheets(content: bytes) -> dict[str, Any]:
    """The sheets of a workbook by name, without those that are charts."""
    from openpyxl import load_workbook

    book = load_workbook(BytesIO(content), read_only=True, data_only=True)
    return {sheet.title: sheet for sheet in book.worksheets}


def _readable_rows(content: bytes, sheet: str) -> Iterator[Row]:
    """The rows of a sheet. Raises `FindingError` at a row where the sheet is damaged."""
    rows = _filled_rows(content, sheet)
    while True:
        try:
            row = next(rows, None)
        except Exception as error:  # as above
            raise _damaged("XLSX", error) from error
        if row is None:
            return
        yield row


def _filled_rows(content: bytes, sheet: str) -> Iterator[Row]:
    """The rows of a sheet that have any text, each as wide as the widest row so far."""
    worksheet = _worksheets(content).get(sheet)
    if worksheet is None:
        return
    worksheet.reset_dimensions()  # some programs write too small ones
    width = 0
    for number, row in enumerate(worksheet.iter_rows(values_only=True), 1):
        cells = [_cell_text(cell) for cell in row]
        width = max(width, len(cells))
        if any(cell.strip() for cell in cells):
            yield Row(number, cells + [""] * (width - len(cells)))


def _cell_text(cell: object) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else str(cell)
    if "_x" not in cell:
        return cell
    from openpyxl.utils.escape import unescape  # _x000D_ is a carriage return

    text: str = unescape(cell)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file. Raises `FindingError` if pyarrow is not installed, if the file is damaged, or if a
    text in it is not UTF-8.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise FindingError(make_finding("parquet_extra")) from None
    try:
        for batch in ParquetFile(path).iter_batches(_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield {key: _json_value(value) for key, value in row.items() if value is not None}
    except UnicodeDecodeError as error:  # pyarrow does not verify the texts that it reads
        raise FindingError(make_finding("encoding_invalid", value=f"0x{error.object[error.start]:02x}")) from None
    except (ArrowException, OSError) as error:
        raise _damaged("Parquet", error) from error


def _damaged(name: str, error: Exception) -> FindingError:
    reason = str(error).strip() or type(error).__name__
    return FindingError(make_finding("file_damaged", value=name, detail=printable(reason, 120)))


def _json_value(value: Any) -> Any:
    """A value of Arrow as a JSON value: structures without their null members, NaN as null (pandas writes it for a
    missing value), bytes that are not UTF-8 as surrogates, other types as text.
    """
    if isinstance(value, dict):
        return {key: _json_value(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_json_value(member) for member in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and isnan(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
