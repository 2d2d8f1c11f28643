"""The front door: the loop in order, quickly, in two languages."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_line import run

import luthier
from luthier.cli import COMMANDS
from luthier.cli.i18n import language_of, printable
from luthier.cli.output import note, spinner

HEAVY = {"torch", "transformers", "openai", "fastapi", "sqlalchemy"}


def modules_after(*args: str) -> set[str]:
    """The top-level modules that a command line leaves loaded, in a process of its own."""
    script = "import sys; from luthier.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_teaches_the_loop_in_order() -> None:
    output = run("--help").stdout
    names = ["quickstart", "serve", "check", "tune", "watch", "jobs", "files", "models", "chat"]
    assert [entry.name for entry in COMMANDS if entry.name in names] == names
    names = [entry.name for entry in COMMANDS]
    places = [output.index(f"\n  {name}") for name in names]
    assert places == sorted(places)


@pytest.mark.services
def test_help_imports_no_command() -> None:
    assert not modules_after("--version") & (HEAVY | {"rich", "pydantic"})


@pytest.mark.services
def test_check_loads_no_training_library_and_no_client(train: Path) -> None:
    assert not modules_after("check", str(train)) & (HEAVY | {"pydantic", "bpe_openai"})


def test_version() -> None:
    assert run("--version").stdout == f"luthier, version {luthier.__version__}\n"


def test_chinese_help_and_the_language_does_not_stay() -> None:
    assert "从这里开始" in run("--lang", "zh", "--help").stdout
    assert os.environ["LUTHIER_LANG"] == "en"
    assert "Start here" in run("--help").stdout


@pytest.mark.parametrize("name", ["check", "tune", "watch", "jobs", "files", "models", "chat", "evaluate"])
def test_every_help_has_an_example(name: str) -> None:
    assert f"luthier {name}" in run(name, "--help").stdout


@pytest.mark.parametrize("name", ["no-such-command", "--no-such-option"])
def test_what_does_not_exist_is_exit_code_2(name: str) -> None:
    assert run(name).exit_code == 2


def test_the_language_is_found_wherever_it_stands() -> None:
    assert language_of(["check", "f", "--lang", "zh"]) == "zh"
    assert language_of(["--lang=en", "check"]) == "en"
    assert language_of(["chat", "m", "--", "--lang=zh"]) is None
    assert language_of(["check", "--lang"]) is None


def test_printable_keeps_text_and_drops_what_moves_the_cursor() -> None:
    assert printable("你好\n\tyes \x1b[2J\x9b1m\rno \ud83d!") == "你好\n\tyes [2J1mno ?!"


def test_a_fault_of_the_disk_is_one_line(train: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("split", train, "--out", tmp_path / "file" / "folder")
    assert result.exit_code == 2
    assert str(tmp_path / "file" / "folder") in result.stderr
    assert "Not a directory" in result.stderr


def test_what_reading_stopped_at_is_said_in_both_languages(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("nonsense\n")
    message = [run("split", path, "--lang", language).stderr for language in ("en", "zh")]
    assert "line 1" in message[0].lower()
    assert "第 1 行" in message[1]


@pytest.mark.parametrize("command", [("evaluate", "gpt-4o", "--out"), ("sweep", "--validation", "FILE", "--plot")])
def test_a_picture_does_not_take_the_place_of_data(train: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    before = train.read_bytes()
    name, *parameters = [train if part == "FILE" else part for part in command]
    assert "does not end in" in run(name, train, *parameters, train).stderr
    assert train.read_bytes() == before
    ending = ".html" if name == "evaluate" else ".svg"
    assert "no folder" in run(name, train, *parameters, tmp_path / "no" / f"a{ending}").stderr


def test_a_misspelt_option_gets_the_nearest_one(train: Path) -> None:
    message = run("check", train, "--validaton", train).stderr
    assert "Did you mean --validation?" in message.replace("'", "")
    assert "--quality" not in message
    assert "是否指" in run("check", train, "--validaton", train, "--lang", "zh").stderr


def test_a_long_wait_is_said_off_terminals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with spinner("a short one"):
        pass
    monkeypatch.setattr("luthier.cli.output.QUIET_S", 0.0)
    noted = threading.Event()
    monkeypatch.setattr("luthier.cli.output.note", lambda text: (note(text), noted.set()))
    with spinner("Loading …"):
        assert noted.wait(120)
    assert capsys.readouterr().err.splitlines() == ["Loading …"]


def test_errors_of_json_are_json() -> None:
    for words, exit_code in ((["check", "absent.jsonl", "--json"], 2), (["jobs", "--json", "shwo"], 2)):
        result = run(*words)
        assert result.exit_code == exit_code
        document = json.loads(result.stdout)["error"]
        assert document["exit_code"] == exit_code
        assert document["message"] in result.stderr.replace("\n", " ")
