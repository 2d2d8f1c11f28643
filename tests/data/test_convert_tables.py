"""Tables keep their shape: every cell stays in its column, or its row is named and goes to the rejects."""

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.convert import Hints, prepared
from luthier.data.findings import Finding, FindingError, Report
from luthier.data.repair import repair_file
from property_examples import example_count

ROWS = [(f"Capital of land {n}?", f"City, {n}") for n in range(6)]


def checked(path: Path, content: str | bytes, **hints: str) -> tuple[list[tuple[str, Any]], list[Finding]]:
    """The questions and answers of the converted file, and the findings on it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with prepared(path, Hints(**hints)) as file:
        report = Report()
        for note in file.notes:
            report.add(note)
        check_file(file.path, minimum_examples=1, report=report)
        texts = [line for line in file.path.read_text().split("\n") if line.startswith('{"messages"')]
    chats = [json.loads(text)["messages"] for text in texts]
    pairs = [(chat[-2]["content"], chat[-1]["content"]) for chat in chats]
    return pairs, [finding for finding in report.findings if finding.code != "converted_from"]


def table(*rows: tuple[Any, ...]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def workbook(path: Path, sheets: dict[str, list[tuple[Any, ...]]]) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("Where?,here, or there\n", "row_misfit"),
        ("Where?\n", "row_misfit"),
        ('Where?,"here\n', "quotation_unclosed"),
        ('"Where"?,here\n', "quotation_unclosed"),
        ('Where?,"here" or there\n', "quotation_unclosed"),
    ],
)
def test_a_row_that_does_not_fit_is_named_alone(tmp_path: Path, row: str, code: str) -> None:
    content = table(("question", "answer"), *ROWS[:3]) + row + table(*ROWS[3:])
    pairs, findings = checked(tmp_path / "t.csv", content)
    assert pairs == ROWS
    assert [(f.code, f.severity, f.line, f.key) for f in findings] == [(code, "error", 4, "5")]
    out, rejects = io.BytesIO(), io.BytesIO()
    with prepared(tmp_path / "t.csv") as file:
        repair_file(file.path, out, rejects)
    (reject,) = rejects.getvalue().splitlines()
    text = json.loads(reject)["text"]
    assert all(word in text for word in ("Where", *(["here"] if "here" in row else [])))


@given(
    cells=st.lists(
        st.lists(st.text(alphabet='ab,"\n ;', min_size=1, max_size=8), min_size=1, max_size=4), min_size=1, max_size=6
    ),
    quoted=st.booleans(),
)
@settings(max_examples=example_count(200))
def test_no_letter_of_a_table_is_lost(tmp_path: Path, cells: list[list[str]], quoted: bool) -> None:
    rows = "".join(",".join(row) + "\n" for row in cells)
    content = "question,answer\n" + (table(*map(tuple, cells)) if quoted else rows)
    path = tmp_path / "t.csv"
    path.write_text(content, newline="")
    try:
        with prepared(path) as file:
            written = file.path.read_text()
    except FindingError:
        return
    letters = content.removeprefix("question,answer\n")
    converted = [json.loads(line) for line in written.splitlines()]
    texts = "".join(
        "".join(value["row"]) if "row" in value else "".join(str(m["content"]) for m in value["messages"])
        for value in converted
    )
    assert [texts.count(letter) for letter in "ab"] == [letters.count(letter) for letter in "ab"]


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(FindingError, match="two columns have the name “reply”"):
        checked(tmp_path / "t.csv", "q,reply,reply\na,b,c\n")


def test_columns_without_a_name(tmp_path: Path) -> None:
    pairs, findings = checked(tmp_path / "t.csv", ",question,answer,\n0,a,b,\n1,c,d,\n")
    assert pairs == [("a", "b"), ("c", "d")]
    assert [(f.code, f.key, f.severity) for f in findings] == [("column_unused", "column 1", "note")]


@pytest.mark.parametrize(
    "header", ["question,answer,", "question,answer, ,", ",question,answer,", "id,question,answer,"]
)
@pytest.mark.parametrize("row", ["What is 3?,Yes, of course 3", "What is 3?,Yes,, then 3", "What is 3?,Yes,3,"])
def test_no_column_without_a_name_takes_the_rest_of_an_answer(tmp_path: Path, header: str, row: str) -> None:
    first = "9," if header.startswith(("id", ",")) else ""
    rest = header.removeprefix("id").lstrip(",").removeprefix("question,answer")
    rows = [f"{first}What is {number}?,Yes{rest}" for number in range(6)]
    content = "\n".join([header, *rows[:3], first + row, *rows[3:]])
    pairs, findings = checked(tmp_path / "t.csv", content)
    assert pairs == [(f"What is {number}?", "Yes") for number in range(6)]
    assert [(f.line, f.key) for f in findings if f.code == "row_misfit"] == [(4, "5")]
    (misfit,) = (f for f in findings if f.code == "row_misfit")
    assert f"columns: {2 + bool(first)})" in misfit.text("en")


@given(
    rows=st.lists(st.lists(st.text("ab ", max_size=3), min_size=1, max_size=6), min_size=1, max_size=8),
    lead=st.integers(0, 1),
    trail=st.integers(0, 3),
)
@settings(max_examples=example_count(200))
def test_a_row_is_read_completely_or_named(tmp_path: Path, rows: list[list[str]], lead: int, trail: int) -> None:
    header = "," * lead + "question,answer" + "," * trail
    rows = [["9"] * lead + row for row in rows if any(cell.strip() for cell in row)]
    (tmp_path / "t.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    with prepared(tmp_path / "t.csv") as file:
        lines = [json.loads(line) for line in file.path.read_text().splitlines()]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        cells = row[lead:]
        fits = len(cells) >= 2 and not any(cell.strip() for cell in cells[2:])
        read = [message["content"] for message in line.get("messages", [])]
        assert read == (cells[:2] if fits else [])


@pytest.mark.parametrize("cell", [r"use a \| b", r"\|\|", r"a \| b \| c", r"C:\new \| D:\n", r"\| first", r"last \|"])
@pytest.mark.parametrize("edges", ["| {} |", "{} |", "| {}", "{}"])
def test_an_escaped_pipe_is_part_of_a_cell(tmp_path: Path, cell: str, edges: str) -> None:
    rows = ["question | answer", "--- | ---", f"How? | {cell}", "Why? | so"]
    pairs, findings = checked(tmp_path / "f", "\n".join(edges.format(row) for row in rows) + "\n")
    assert pairs == [("How?", cell.replace(r"\|", "|")), ("Why?", "so")]
    assert findings == []


def test_a_pipe_that_is_not_escaped_is_an_error(tmp_path: Path) -> None:
    rows = "| question | answer |\n|---|---|\n| How? | a | b |\n| Why? | so |\n"
    pairs, findings = checked(tmp_path / "f", rows)
    assert pairs == [("Why?", "so")]
    assert [(f.code, f.line) for f in findings] == [("row_misfit", 1)]
    assert checked(tmp_path / "f", "question,answer\nHow?,a \\| b\n")[0] == [("How?", r"a \| b")]


def test_cells_of_a_workbook_are_never_the_rest_of_others(tmp_path: Path) -> None:
    rows = [("question", "answer", " "), *((*row, "seen") for row in ROWS)]
    pairs, findings = checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", {"A": rows}))
    assert pairs == ROWS
    assert [(f.code, f.key) for f in findings] == [("column_unused", "column 3")]


def test_a_column_of_long_texts_is_a_warning(tmp_path: Path) -> None:
    remark = "see the manual, chapter four, where the matter is treated at length"
    _, findings = checked(tmp_path / "t.csv", table(("question", "answer", "remark"), ("a", "b", remark)))
    assert [(f.code, f.key, f.severity) for f in findings] == [("column_unused", "remark", "warning")]


@pytest.mark.parametrize("top", [[("Quiz 2024",)], [("Quiz", None, None), (), ("made by", "us", "all")]])
def test_titles_above_a_table(tmp_path: Path, top: list[tuple[Any, ...]]) -> None:
    rows = [*top, ("Question", "Answer"), *ROWS]
    pairs, findings = checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", {"A": rows}))
    assert pairs == ROWS
    assert [f.code for f in findings] == ["rows_skipped"]
    assert "Quiz" in findings[0].text("en")


def test_a_table_that_begins_elsewhere(tmp_path: Path) -> None:
    rows = [(), (), *((None, None, *row) for row in (("提问", "回复"), *ROWS))]
    assert checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", {"A": rows}))[0] == ROWS


def test_empty_sheets_are_passed_over(tmp_path: Path) -> None:
    book = {"Sheet2": [], "Sheet3": [(None, " ")], "Data": [("question", "answer"), *ROWS]}
    assert checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", book))[0] == ROWS
    book["Old"] = book["Data"]
    with pytest.raises(FindingError, match=r"which sheet .*sheets: Data, Old"):
        checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", book))


def test_a_name_that_the_file_does_not_have_is_said(tmp_path: Path) -> None:
    content = workbook(tmp_path / "b.xlsx", {"Data": [("one", "two"), *ROWS], "Old": [("three", "four"), *ROWS]})
    for hints, words in (
        ({"sheet": "data"}, "no sheet of the name that --sheet gives; its sheets: Data, Old"),
        ({"sheet": "Data", "question": "on", "answer": "two"}, r"each name a column .* these exist: one, two"),
        ({"sheet": "Old", "answer": "four"}, r"each name a column .* these exist: three, four"),
    ):
        with pytest.raises(FindingError, match=words):
            checked(tmp_path / "b.xlsx", content, **hints)


def test_line_breaks_of_excel(tmp_path: Path) -> None:
    rows = [("question", "answer"), ("one_x000D_\ntwo", "three\nfour"), ("a_x0009_b", "snake_x_case")]
    pairs, _ = checked(tmp_path / "b.xlsx", workbook(tmp_path / "b.xlsx", {"A": rows}))
    assert pairs == [("one\ntwo", "three\nfour"), ("a\tb", "snake_x_case")]


CHAT = {"messages": [{"role": "user", "content": "a, b"}, {"role": "assistant", "content": "c, d"}]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("".join(json.dumps(CHAT["messages"]) + "\n" for _ in range(3)), "data_type"),
        ("".join(json.dumps(json.dumps(CHAT)) + "\n" for _ in range(3)), "data_type"),
        ("".join(f"{n}) {json.dumps(CHAT)}\n" for n in range(1, 4)), "json_invalid"),
        ("".join(f"[{n}, {json.dumps('a, b')}]\n" for n in range(3)), "data_type"),
        ("Dear all, please find the data below, as agreed.\nHello, Anna\nBye, Tom\n", "json_invalid"),
        ("- question: a, b\n  answer: c, d\n", "json_invalid"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: str, code: str) -> None:
    _, findings = checked(tmp_path / "f", content)
    errors = [finding for finding in findings if finding.severity == "error" and finding.line]
    assert {finding.code for finding in errors} == {code}
    assert errors[0].line == 1


def test_conversations_in_the_cells_of_a_table(tmp_path: Path) -> None:
    rows = [("id", "messages", "tools"), ("a1", json.dumps(CHAT["messages"]), "[]")]
    pairs, findings = checked(tmp_path / "t.csv", table(*rows))
    assert pairs == [("a, b", "c, d")]
    assert [f.key for f in findings] == ["id"]


@pytest.mark.parametrize("key", ["messages", "conversations"])
@pytest.mark.parametrize(("speaker", "text"), [("role", "content"), ("from", "value")])
def test_cells_may_be_the_output_of_python(tmp_path: Path, key: str, speaker: str, text: str) -> None:
    turns = [{speaker: turn["role"], text: turn["content"], "name": None} for turn in CHAT["messages"]]
    pairs, findings = checked(tmp_path / "t.csv", table(("id", key), ("a1", str(turns)), ("a2", str(turns))))
    assert pairs == [("a, b", "c, d")] * 2
    assert {finding.severity for finding in findings} <= {"warning", "note"}


@pytest.mark.parametrize("cell", ["[{'role': 'user'}\n {'role': 'assistant'}]", "__import__('os')", "Hello", "[" * 999])
def test_no_repair_is_promised_for_a_cell_that_cannot_be_read(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.csv").write_text(table(("messages",), (cell,)))
    with prepared(tmp_path / "t.csv") as file:
        (finding,) = check_file(file.path, minimum_examples=1).findings
    assert finding.code == "missing_messages_list"
    assert "--fix" not in finding.remedy("en") + finding.remedy("zh")


def test_messages_in_text_are_decoded_by_a_repair(tmp_path: Path) -> None:
    (tmp_path / "f").write_text(json.dumps({"messages": json.dumps(CHAT["messages"])}))
    assert "is a string" in check_file(tmp_path / "f", minimum_examples=1).findings[0].text("en")
    out, rejects = io.BytesIO(), io.BytesIO()
    repair_file(tmp_path / "f", out, rejects)
    assert (json.loads(out.getvalue()), rejects.getvalue()) == (CHAT, b"")


def test_lists_texts_and_numbered_lines_can_be_repaired(tmp_path: Path) -> None:
    lines = [json.dumps(CHAT["messages"]), json.dumps(json.dumps(CHAT)), f"7: {json.dumps(CHAT)}", json.dumps(CHAT)]
    (tmp_path / "f").write_text("\n".join(lines))
    out, rejects = io.BytesIO(), io.BytesIO()
    repair_file(tmp_path / "f", out, rejects)
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [CHAT] * 4


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Excel 97"),
        (b"%PDF-1.7\n", "PDF"),
        (b"7z\xbc\xaf\x27\x1c00", "7z"),
        (b"SQLite format 3\x00", "SQLite"),
    ],
)
def test_other_binary_formats_get_one_sentence(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(FindingError, match=f"^unsupported file format: {name}") as error:
        checked(tmp_path / "f", content)
    assert error.value.finding.code == "format_unsupported"


@pytest.mark.parametrize("name", ["rows.csv", "rows.TSV", "rows.csv.gz"])
def test_a_table_without_names_of_columns(tmp_path: Path, name: str) -> None:
    content = "".join(f"How far is star {n}?\tIt is {n} light years away.\n" for n in range(12)).encode()
    with pytest.raises(FindingError, match=r"How far is star 0.*add a first row") as error:
        checked(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    assert error.value.finding.code == "columns_ambiguous"
    assert "第一行" in error.value.finding.remedy("zh")


@pytest.mark.parametrize("rule", ["|---|---|", "| :--- | ---: |", "|:-:|--|"])
def test_the_rule_of_a_markdown_table_is_no_row(tmp_path: Path, rule: str) -> None:
    rows = "".join(f"| Capital {n}? | City {n} |\n" for n in range(6))
    pairs, findings = checked(tmp_path / "f", f"| question | answer |\n{rule}\n{rows}")
    assert pairs == [(f"Capital {n}?", f"City {n}") for n in range(6)]
    assert findings == []
    pairs, _ = checked(tmp_path / "f", "question,answer\nWhat separates?,---\n")
    assert pairs == [("What separates?", "---")]


@pytest.mark.parametrize("quote", ["'{}'", '"a \\"{}\\" b"'])
def test_a_table_of_which_no_row_fits(tmp_path: Path, quote: str) -> None:
    """Cells in marks that are none of CSV: every row is named, never the keys by which misfits are passed on."""
    content = "question,answer\n" + "".join(f"{n},{quote.format(f'yes, {n}')}\n" for n in range(6))
    pairs, findings = checked(tmp_path / "f", content)
    assert pairs == []
    assert {finding.code for finding in findings} <= {"row_misfit", "quotation_unclosed"}
    assert [finding.line for finding in findings] == list(range(1, 7))


def _parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    out = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(
        pyarrow.table({"question": ["a"] * 50, "answer": ["b"] * 50}), out
    )
    return out.getvalue()


@pytest.mark.parametrize("name", ["gzip", "XLSX", "Parquet"])
@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_file_is_called_so(tmp_path: Path, name: str, damage: str) -> None:
    contents = {
        "gzip": lambda: gzip.compress(table(*ROWS).encode() * 9),
        "XLSX": lambda: workbook(tmp_path / "f.xlsx", {"a": [("question", "answer"), *ROWS]}),
        "Parquet": _parquet,
    }
    content = contents[name]()
    half = len(content) // 2
    content = content[:half] if damage == "cut" else content[:60] + bytes(half) + content[60 + half :]
    with pytest.raises(FindingError, match="damaged") as error:
        checked(tmp_path / "f", content)
    assert error.value.finding.code == "file_damaged"
    assert not set(re.findall("[A-Za-z]+", error.value.finding.text("zh"))) - {name, "zip"}


@pytest.mark.parametrize("version", [64, 255])
def test_a_workbook_that_needs_an_unknown_version_of_zip_is_called_damaged(tmp_path: Path, version: int) -> None:
    content = bytearray(workbook(tmp_path / "f.xlsx", {"a": [("question", "answer"), *ROWS]}))
    content[content.index(b"PK\x01\x02") + 6] = version
    with pytest.raises(FindingError, match="damaged: zip file version"):
        checked(tmp_path / "f", bytes(content))


def test_a_zip_names_what_is_in_it(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("data.csv", "a,b")
    with pytest.raises(FindingError, match=r"zip: data\.csv"):
        checked(tmp_path / "f.zip", (tmp_path / "f.zip").read_bytes())


def test_parquet_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(FindingError, match=r"luthier\[parquet\]"):
        checked(tmp_path / "f.parquet", b"PAR1" + bytes(20) + b"PAR1")


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"question": [q for q, _ in ROWS], "answer": [a for _, a in ROWS]}), tmp_path / "p"
    )
    assert checked(tmp_path / "p", (tmp_path / "p").read_bytes())[0] == ROWS
    messages = [CHAT["messages"], [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]]
    parquet.write_table(pyarrow.table({"messages": messages}), tmp_path / "p")
    assert checked(tmp_path / "p", (tmp_path / "p").read_bytes())[0] == [("a, b", "c, d"), ("x", "y")]
