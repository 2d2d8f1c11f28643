"""A value that Luthier writes as a line stays one for every reader."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from luthier.data.convert import prepared
from luthier.types.json_lines import json_line

SEPARATED = "one\x85two\u2028three\u2029four\x1cfive\n\r\x0b\x0csix"


@given(st.text() | st.text('\x1c\x85\u2028\u2029\n\\"u'))
def test_a_line_holds_its_value_and_no_other_line_end(text: str) -> None:
    line = json_line({text: [text]})
    assert line.splitlines() == [line]
    assert json.loads(line) == {text: [text]}


def test_converted_examples_are_one_line_each(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text(json.dumps([{"question": SEPARATED, "answer": SEPARATED}] * 2, ensure_ascii=False), "utf-8")
    with prepared(table) as file:
        examples = [json.loads(line) for line in file.path.read_text("utf-8").splitlines()]
    assert [[message["content"] for message in example["messages"]] for example in examples] == [[SEPARATED] * 2] * 2
