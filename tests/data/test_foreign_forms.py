"""Lines of other tools are named, with their keys and where their questions and answers stand."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.examples.foreign_forms import _FORMS, foreign_form
from luthier.data.findings import Report
from luthier.data.findings.foreign import FOREIGN_VARIANTS

ASKED = {"role": "user", "content": "Which river?"}
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("preferences", {"prompt": "Which river?", "Chosen": "The Elbe", "Rejected": None}),
    ("batch requests", {"custom_id": "7", "url": "/v1/chat/completions", "body": {"messages": [ASKED]}}),
    ("batch results", {"id": "b", "custom_id": "7", "response": {"status_code": 200}, "error": None}),
    ("gemini", {"contents": [{"role": "user", "parts": [{"text": "Which river?"}]}]}),
    ("gemini", {"systemInstruction": {"parts": []}, "contents": [{"parts": [{"text": "a"}, {"text": "b"}]}]}),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}], "id": "r"}),
    ("responses", {"input": "a", "output": [{"content": [{"type": "output_text", "text": "b"}]}]}),
    ("langsmith", {"inputs": {"question": "Which river?"}, "outputs": {"answer": "The Elbe"}}),
    ("trace", {"input": [ASKED], "expectedOutput": "The Elbe", "id": "t"}),
    ("trace", {"input": {"messages": [ASKED]}, "output": {"role": "assistant", "content": "The Elbe"}}),
    ("evals", {"item": {"river": "Elbe", "length": 1094}}),
    ("source and target", {"source": "The Elbe rises in the Giant Mountains.", "target": "Die Elbe entspringt dort."}),
    ("source and target", {"id": 1, "source": "pear", "translation": "Birne"}),
    ("one text", {"text": "Q: Which river? A: The Elbe"}),
    ("one text", {"system": "You are", "chat": "USER: a ASSISTANT: b"}),
]


def checked(folder: Path, *lines: Any) -> Report:
    path = folder / "f.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return check_file(path, minimum_examples=1)


@pytest.mark.parametrize(("name", "line"), FORMS)
def test_forms_are_named(tmp_path: Path, name: str, line: dict[str, Any]) -> None:
    assert foreign_form(line) == name
    finding = checked(tmp_path, line, line).findings[0]
    assert (finding.code, finding.detail) == ("unexpected_format", name)
    kind = FOREIGN_VARIANTS["unexpected_format", name]
    for language, sentence in (("en", kind.en), ("zh", kind.zh)):
        assert finding.text(language) == sentence.format(value=", ".join(line))
        assert finding.remedy(language).endswith(("}.", "}。"))
    assert "expected either prompt/completion pairs" in finding.wire()


def test_every_form_has_its_sentences() -> None:
    assert {name for _, name in FOREIGN_VARIANTS} == _FORMS.keys() == {name for name, _ in FORMS}


@pytest.mark.parametrize("lines", [[{"x": 1, "y": 2}], [FORMS[0][1], {"x": 1}], [{}]])
def test_others_are_told_by_their_keys(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    finding = checked(tmp_path, *lines).findings[0]
    assert (finding.code, finding.detail) == ("unexpected_format", "")
    assert (", ".join(lines[0]) or "–") in finding.text("en")


def test_a_key_named_text_is_not_taken_for_a_text(tmp_path: Path) -> None:
    findings = checked(tmp_path, {"text": "a"}, {"text": "b"}).findings
    assert "keys here: text" in next(finding for finding in findings if finding.code == "missing_messages_list").text(
        "en"
    )
