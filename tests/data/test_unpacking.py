"""Compressed files and workbooks that are broken, or only there to fill a disk."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from luthier.data.convert import workbooks
from luthier.data.convert.text import open_text
from luthier.data.convert.workbooks import workbook_rows
from luthier.data.findings import FindingError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbooks, "_FREE_BYTES", 100_000)


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_gzip_file_that_grows_beyond_measure_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"a" * 20_000_000))
    with pytest.raises(FindingError) as refused:
        open_text(path, None, tmp_path)
    assert refused.value.finding.code == "expansion_too_large"
    assert (tmp_path / "decompressed").stat().st_size < 10_000_000


def test_a_workbook_that_grows_beyond_measure_is_not_read(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.xlsx", {"xl/workbook.xml": b"", "xl/sharedStrings.xml": b"a" * 20_000_000})
    with pytest.raises(FindingError) as refused:
        open_text(path, None, tmp_path)
    assert refused.value.finding.code == "expansion_too_large"


def test_repetitive_data_is_unpacked(tmp_path: Path) -> None:
    lines = b"".join(b'{"messages": [{"role": "user", "content": "%d"}]}\n' % (n % 97) for n in range(20_000))
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(lines))
    assert open_text(path, None, tmp_path).path.read_bytes() == lines


def _workbook() -> dict[str, bytes]:
    from openpyxl import Workbook

    book = Workbook()
    for row in [["prompt", "completion"], ["a", "b"], ["c", "d"]]:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("member", sorted(_workbook()))
@pytest.mark.parametrize("content", [b"", b"<", b"\x00\xff", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_a_broken_part_of_a_workbook_is_an_error_that_says_so(tmp_path: Path, member: str, content: bytes) -> None:
    path = _zip(tmp_path / "a.xlsx", {**_workbook(), member: content})
    try:
        open_text(path, None, tmp_path)
        list(workbook_rows(path, None)())
    except FindingError:
        pass  # any other exception would be a traceback


def test_a_sheet_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    members = _workbook()
    sheet = members["xl/worksheets/sheet1.xml"]
    path = _zip(tmp_path / "a.xlsx", {**members, "xl/worksheets/sheet1.xml": sheet[: len(sheet) * 2 // 3]})
    with pytest.raises(FindingError):
        list(workbook_rows(path, None)())
