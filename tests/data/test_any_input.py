"""No JSON value and no text of any shape ends in a traceback, whatever the method; what was rejected is kept."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.check.method import METHODS, recognised_method
from luthier.data.check.quality.misread_text import misread_text
from luthier.data.check.quality.question_form import form_of
from luthier.data.check.quality.repetition import endless_repetition
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.convert import prepared
from luthier.data.examples.foreign_forms import foreign_form
from luthier.data.findings import FindingError
from luthier.data.repair import repair_file
from property_examples import example_count

KEYS = [
    "messages", "prompt", "completion", "input", "output", "preferred_output", "non_preferred_output", "chosen",
    "rejected", "conversations", "role", "content", "parts", "contents", "body", "custom_id", "inputs", "outputs",
    "item", "text", "tools", "function", "name", "arguments", "tool_calls", "weight", "type", "reference_answer", "row",
    "columns", "row_line", "question", "answer", "instruction",
]  # fmt: skip
texts = st.text(max_size=8) | st.sampled_from(["user", "assistant", "text", "[]", "{}", "浣犲ソ", "Can you?", "a@b.co"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(lines=st.lists(values, min_size=1, max_size=5), method=st.sampled_from(METHODS))
@settings(max_examples=example_count(25))
def test_values_of_any_shape(tmp_path: Path, lines: list[Any], method: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for line in lines:
        assert not isinstance(line, dict) or isinstance(foreign_form(line), str | None)
    assert recognised_method(path) in METHODS
    try:
        with prepared(path) as file:
            report = check_file(file.path, method=method, minimum_examples=1, quality=QualityRunner())
            out, rejects = io.BytesIO(), io.BytesIO()
            repairs = repair_file(file.path, out, rejects, method=method)
    except FindingError:
        return
    assert all(finding.text("zh") and finding.remedy("en") and finding.wire() for finding in report.findings)
    assert repairs.examples + repairs.rejected == report.examples
    written = len(out.getvalue().splitlines()) + len(rejects.getvalue().splitlines())
    assert written == report.examples


@given(text=st.text(max_size=60) | st.text(alphabet="ab ?\n浣犲ソ", max_size=12).map(lambda text: text * 60))
@settings(max_examples=example_count(100))
def test_texts_of_any_shape(text: str) -> None:
    form_of(text)
    misread_text(text)
    repetition = endless_repetition(text)
    assert repetition is None or repetition.unit in text


@pytest.mark.parametrize("size", [0, 1, 399, 400, 401])
def test_short_and_empty_repetitions(size: int) -> None:
    assert endless_repetition(" " * size) is None
    assert (endless_repetition("ab" * size) is None) == (size < 200)
