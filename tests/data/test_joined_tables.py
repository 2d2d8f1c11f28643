"""Tables that were joined, and sheets that are none: every row of a table is an example, and nothing else is."""

from pathlib import Path

import pytest

from data.test_convert_tables import ROWS, checked, workbook
from luthier.data.findings import FindingError


@pytest.mark.parametrize("header", ["question,answer", ",question,answer", "id,question,answer,", "question , answer"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_repeated_header_is_no_example(tmp_path: Path, header: str, place: int) -> None:
    first = "9," if header.startswith(("id", ",")) else ""
    rows = [f"{first}What is {number}?,Yes" for number in range(4)]
    pairs, findings = checked(tmp_path / "t.csv", "\n".join([header, *rows[:place], header, *rows[place:]]))
    assert pairs == [(f"What is {number}?", "Yes") for number in range(4)]
    errors = [(f.code, f.line, f.key) for f in findings if f.severity == "error"]
    assert errors == [("header_repeated", place + 1, str(place + 2))]


def test_a_repeated_header_of_other_tables(tmp_path: Path) -> None:
    part = "| question | answer |\n|---|---|\n| Why? | so |\n"
    pairs, findings = checked(tmp_path / "f", part + "\n" + part)
    assert pairs == [("Why?", "so")] * 2
    assert [f.code for f in findings if f.severity == "error"] == ["header_repeated"]
    rows = [("Question", "Answer"), *ROWS[:2], ("Question", "Answer"), *ROWS[2:]]
    pairs, findings = checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", {"A": rows}))
    assert pairs == ROWS
    assert [f.code for f in findings] == ["header_repeated"]


def test_charts_are_no_sheets(tmp_path: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.chart import BarChart

    for sheets in (["data", "chart"], ["chart", "data", "chart"]):
        book = Workbook()
        book.remove(book.active)
        for number, kind in enumerate(sheets):
            if kind == "chart":
                book.create_chartsheet(f"Chart {number}").add_chart(BarChart())
                continue
            for row in [("question", "answer"), *ROWS]:
                (book["Data"] if "Data" in book.sheetnames else book.create_sheet("Data")).append(row)
        book.save(tmp_path / "b.xlsx")
        content = (tmp_path / "b.xlsx").read_bytes()
        assert checked(tmp_path / "b.xlsx", content)[0] == ROWS
        with pytest.raises(FindingError, match=r"no sheet of the name .*; its sheets: Data"):
            checked(tmp_path / "b.xlsx", content, sheet=f"Chart {sheets.index('chart')}")
