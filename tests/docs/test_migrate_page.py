"""The page on migrating: two languages alike, and its commands run against an account."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from luthier.cli import main
from luthier.cli.migrate import migrate
from migrate.accounts import RunningAccount, account

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("migrate.md", "migrate.zh-CN.md")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST_COMMANDS = 5


def test_both_languages_have_the_same_headings_code_and_tables() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in PAGES)
    assert FENCED.findall(english) == FENCED.findall(chinese)
    for pattern in (r"^(#+) ", r"^\|", r"^- ", r"^\d\. ", r"\d{4}-\d{2}-\d{2}"):
        assert re.findall(pattern, english, re.MULTILINE) == re.findall(pattern, chinese, re.MULTILINE)
    fields = [re.findall(r"^\| (`[a-z_.]+`)", text, re.MULTILINE) for text in (english, chinese)]
    assert fields[0] == fields[1]


def test_commands_and_their_flags_exist() -> None:
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    lines = [line for kind, code in blocks if kind == "bash" for line in code.splitlines()]
    migrate_lines = [shlex.split(line)[2:] for line in lines if line.startswith("luthier migrate ")]
    used = set()
    for name, *words in migrate_lines:
        command = migrate.commands[name]
        assert {word for word in words if word.startswith("--")} <= {
            flag for parameter in command.params for flag in parameter.opts
        }
        used.add(name)
    assert used == set(migrate.commands)


@pytest.mark.services
def test_the_five_minutes_work_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_LANG", "en")
    monkeypatch.setenv("LUTHIER_DATA", str(tmp_path / "data"))
    blocks = FENCED.findall(PAGES[0].read_text(encoding="utf-8"))
    commands = [line for kind, code in blocks if kind == "bash" for line in code.splitlines()]
    (output,) = [code for kind, code in blocks if kind == "text"]
    (script,) = [code for kind, code in blocks if kind == "python"]
    export, *steps = commands[: FIRST_COMMANDS + 1]
    monkeypatch.setenv(*export.removeprefix("export ").split("="))
    with RunningAccount(tmp_path / "account", account()) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        outputs = [_run(line) for line in steps]
    assert (tmp_path / "inventory.html").exists()
    assert set(output.splitlines()) <= {line.rstrip() for line in outputs[1].splitlines()}
    assert "Complete: recording" in outputs[2]
    assert outputs[3].startswith("Complete: recording: 10 files, 34 jobs")
    assert "Imported 10 files, 34 jobs, 1 batch and 25 stored completions" in outputs[4]
    printed: list[object] = []
    exec(script, {"print": lambda *words: printed.append(words)})  # noqa: S102 - the page's own script
    assert len(printed) == 25


def _run(line: str) -> str:
    result = CliRunner().invoke(main, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    return result.stdout
