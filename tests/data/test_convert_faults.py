"""What the check names in JSON lines, it names in every other form of a file: no converter repairs it in silence."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.convert import prepared
from luthier.data.findings import Finding, FindingError
from luthier.data.repair import repair_file
from luthier.data.split.splitter import Output, split_file
from property_examples import example_count

CESU_8 = b"\xed\xa0\xbd\xed\xb8\x80"  # 😀 as two surrogates
ROW = b'{"question": "%s", "answer": "yes"}'
CHAT = b'{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "yes"}]}'
JSON_FORMS: dict[str, Callable[[list[bytes]], bytes]] = {
    "lines": b"\n".join,
    "array": lambda objects: b"[" + b",\n".join(objects) + b"]",
    "array in one line": lambda objects: b"[" + b", ".join(objects) + b"]",
    "indented": lambda objects: b"\n".join(text.replace(b", ", b",\n  ") for text in objects),
    "chained": lambda objects: b" ".join(objects),
}
FAULTS = {
    "byte": (lambda text: text.replace(b"yes", b"caf\xe9"), "encoding_invalid"),
    "CESU-8": (lambda text: text.replace(b"yes", CESU_8), "encoding_invalid"),
    "half a character": (lambda text: text.replace(b"yes", b"\\ud83d"), "lone_surrogate"),
    "half like a byte": (lambda text: text.replace(b"yes", b"\\udcc3\\udca9"), "lone_surrogate"),
    "equal keys": (lambda text: text.replace(b': "yes"', b': "yes", "note": 1, "note": 2'), "duplicate_key"),
    "NaN": (lambda text: text.replace(b'"yes"', b"NaN"), "number_invalid"),
    "infinity": (lambda text: text.replace(b'"yes"', b"-Infinity"), "number_invalid"),
    "long exponent": (lambda text: text.replace(b'"yes"', b"1e999"), "number_invalid"),
}


def findings_of(path: Path, content: bytes) -> list[Finding]:
    path.write_bytes(content)
    with prepared(path) as file:
        return check_file(file.path, minimum_examples=1).findings


def errors_of(path: Path, content: bytes) -> list[tuple[str, int | None]]:
    return [(f.code, f.line) for f in findings_of(path, content) if f.severity == "error"]


def repaired(path: Path) -> tuple[list[bytes], list[bytes]]:
    out, rejects = io.BytesIO(), io.BytesIO()
    with prepared(path) as file:
        repair_file(file.path, out, rejects)
    return out.getvalue().splitlines(), rejects.getvalue().splitlines()


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("template", [ROW, CHAT], ids=["row", "chat"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_every_form_of_json(tmp_path: Path, form: str, template: bytes, fault: str) -> None:
    spoil, code = FAULTS[fault]
    objects = [template % f"Größe {number}".encode() for number in range(30)]
    objects[3] = spoil(objects[3])
    assert (code, 4) in errors_of(tmp_path / "f.json", JSON_FORMS[form](objects))
    out, rejects = repaired(tmp_path / "f.json")
    assert len(out) + len(rejects) == 30
    assert ("😀".encode() in b"".join(out)) == (fault == "CESU-8")


def test_what_surrounds_a_list_is_read_as_strictly(tmp_path: Path) -> None:
    rows = b", ".join(ROW % str(number).encode() for number in range(9))
    for head, code in ((b'"data": [], ', "duplicate_key"), (b'"version": 1e999, ', "number_invalid")):
        assert errors_of(tmp_path / "f", b'{%s"data": [%s]}' % (head, rows))[0] == (code, 1)


@pytest.mark.parametrize("separator", [b",", b"\t", b";", b"|"])
@pytest.mark.parametrize("place", ["question", "answer", "quoted"])
def test_a_byte_that_is_not_utf8_is_named_in_a_table(tmp_path: Path, separator: bytes, place: str) -> None:
    rows = [[f"Größe {number}?".encode(), b"gross"] for number in range(40)]
    rows[6] = {"question": [b"caf\xe9?", b"yes"], "answer": [b"?", b"\xff"], "quoted": [b'"a\xa0\nb"', b"c"]}[place]
    rows[7] = [b"How " + CESU_8 + b"?", b"so"]
    content = b"\n".join(separator.join(cells) for cells in ([b"question", b"answer"], *rows))
    assert errors_of(tmp_path / "t.csv", content) == [("encoding_invalid", 7), ("encoding_invalid", 8)]
    out, rejects = repaired(tmp_path / "t.csv")
    assert (len(out), len(rejects)) == (39, 1)
    assert json.loads(out[6])["messages"][0]["content"] == "How 😀?"


@given(texts=st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=4))
@settings(max_examples=example_count(100))
def test_no_byte_of_a_table_is_replaced(tmp_path: Path, texts: list[bytes]) -> None:
    texts = [text.translate(None, b'\r\n",\0') + b"." for text in texts]
    good = "".join(f"Größe {number}?,groß\n" for number in range(40)).encode()
    (tmp_path / "t.csv").write_bytes(b"question,answer\n" + good + b"".join(b"?,%s\n" % text for text in texts))
    with prepared(tmp_path / "t.csv") as file:
        lines = file.path.read_bytes().splitlines()[40:]
    assert len(lines) == len(texts)
    for line, text in zip(lines, texts, strict=True):
        answer = json.loads(line.decode(errors="surrogateescape"))["messages"][1]["content"]
        assert answer.encode(errors="surrogateescape") == text


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_a_split_names_a_byte_that_is_not_utf8(tmp_path: Path, name: str) -> None:
    rows = [ROW % f"Größe {number}".encode() for number in range(30)]
    content = b"[" + b",".join([*rows, ROW % b"caf\xe9"]) + b"]"
    if name == "t.csv":
        content = b"question,answer\n" + "".join(f"Größe {n},groß\n" for n in range(30)).encode() + b"caf\xe9,yes\n"
    (tmp_path / name).write_bytes(content)
    with prepared(tmp_path / name) as file, pytest.raises(FindingError, match=r"line 31: .*not UTF-8 \(found 0xe9\)"):
        split_file(file.path, tmp_path / "train", [Output("validation", tmp_path / "valid", 0.2)])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_bytes_of_parquet_are_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    answers = [b"yes", b"caf\xe9", CESU_8, "\u00e9".encode()]
    values = pyarrow.table({"question": list("abcd"), "answer": answers, "weight": [1.0, float("nan"), 1.0, 1.0]})
    pytest.importorskip("pyarrow.parquet").write_table(values, tmp_path / "p")
    errors = errors_of(tmp_path / "p", (tmp_path / "p").read_bytes())
    assert [line for code, line in errors if code == "encoding_invalid"] == [2, 3]
    assert all(code != "number_invalid" for code, _ in errors)


def test_a_text_of_parquet_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    answers = pyarrow.array([b"yes", b"caf\xe9"]).view(pyarrow.string())
    values = pyarrow.table({"question": ["a", "b"], "answer": answers})
    pytest.importorskip("pyarrow.parquet").write_table(values, tmp_path / "p")
    with pytest.raises(FindingError, match=r"not UTF-8 \(found 0xe9\)"):
        errors_of(tmp_path / "p", (tmp_path / "p").read_bytes())
