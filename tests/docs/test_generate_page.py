"""The page on generating: two languages alike, files that are as it shows them, a worked example that works."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from luthier.cli import main
from luthier.generate.functions.values import read_user_content

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("generate.md", "generate.zh-CN.md")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_both_languages_have_the_same_headings_code_and_tables() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES)
    assert FENCED.findall(english) == FENCED.findall(chinese)
    for pattern in (r"^(#+) ", r"^\|", r"^- ", r"^\d\. "):
        assert re.findall(pattern, english, re.MULTILINE) == re.findall(pattern, chinese, re.MULTILINE)
    fields = [re.findall(r"^\| (`[a-z_0-9]+`)", text, re.MULTILINE) for text in (english, chinese)]
    assert fields[0] == fields[1]


@pytest.mark.long
def test_the_leave_letter_comes_out_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_LANG", "en")
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    commands = [line for kind, code in blocks if kind == "bash" for line in code.splitlines() if "leave.jsonl" in line]
    (output,) = [code for kind, code in blocks if kind == "text"]
    result, checked = (_run(line, tmp_path) for line in commands)
    assert [
        line for line in output.splitlines() if line not in [message.rstrip() for message in result.splitlines()]
    ] == []
    assert "0 errors, 0 warnings" in checked


def _run(line: str, folder: Path) -> str:
    words = [str(ROOT / word) if word.startswith("src/") else word for word in shlex.split(line)[1:]]
    words = [str(folder / word) if word == "leave.jsonl" else word for word in words]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_file_of_values_is_read(tmp_path: Path) -> None:
    (output,) = [code for kind, code in FENCED.findall(PAGES[0].read_text(encoding="utf-8")) if kind == "json"]
    path = tmp_path / "values.json"
    path.write_text(output, encoding="utf-8")
    own = read_user_content(path)
    assert own.values == json.loads(output)["values"]
    assert len(own.phrasings["write_leave_letter"]) == 2
