"""What the READMEs say is true: two languages alike, commands and links that exist, a script that runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from luthier.cli import main
from luthier.data.check.file_check import check_file
from luthier.settings import Settings
from test_layers import LINE_OF, LINES

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = "src/luthier/examples/smart_home.jsonl"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _blocks(page: Path, language: str | None = None) -> list[str]:
    return [code for name, code in FENCED.findall(_text(page)) if language in (None, name)]


def _prose(page: Path) -> str:
    return FENCED.sub("", _text(page))


def _commands(page: Path) -> list[str]:
    """Lines of shell blocks and code in running text."""
    lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", _prose(page))


def test_both_languages_have_the_same_headings_and_code() -> None:
    english, chinese = READMES
    levels = [re.findall(r"^(#+) ", _prose(page), re.MULTILINE) for page in READMES]
    assert levels[0] == levels[1]
    assert FENCED.findall(_text(english)) == FENCED.findall(_text(chinese))


def test_both_languages_have_the_same_tables_lists_and_links() -> None:
    for pattern in (r"^\|", r"^- ", r"\]\((?!README|#)[^)#]+"):
        english, chinese = (re.findall(pattern, _prose(page), re.MULTILINE) for page in READMES)
        # The Chinese page has the Chinese version of pages and images where there is one.
        assert english == [line.replace(".zh-CN.", ".") for line in chinese]


@each_page
def test_commands_and_their_flags_exist(page: Path) -> None:
    for line in _commands(page):
        words = shlex.split(line) if line.startswith("luthier ") else []
        if words[1:] and not words[1].startswith("-"):
            _check_command(words[1:])


def _check_command(words: list[str]) -> None:
    """Follows groups as far as they go; flags are those of the last command."""
    context = click.Context(main)
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        subcommand = command.get_command(context, words[0])
        assert subcommand, f"there is no command {words[0]!r} in {command.name}"
        command, words = subcommand, words[1:]
    names = {flag for parameter in command.params for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= names


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", _text(ROOT / "Makefile"), re.MULTILINE))
    named = {line.split()[1] for line in _commands(page) if re.fullmatch(r"make \w+", line)}
    assert named <= targets


@each_page
def test_variables_are_settings(page: Path) -> None:
    variables = {f"LUTHIER_{name.upper()}" for name in Settings.model_fields} | {
        "LUTHIER_LANG",
        "LUTHIER_CONFIG",
        "LUTHIER_CPU_TIER",
    }
    assert set(re.findall(r"LUTHIER_[A-Z_]+", _text(page))) <= variables


@each_page
def test_files_of_the_project_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`([\w-]+/[\w./-]+\.\w+)`", _prose(page)):
        if not name.startswith(("state/", "files/")):  # these lie in the data folder
            assert (ROOT / name).exists() or (ROOT / "src" / "luthier" / name).exists(), name


def test_the_rooms_are_those_of_the_layers() -> None:
    page = ROOT / "docs" / "design.md"
    table = re.findall(r"^\| `([a-z_]+)(?:\.py)?` \|", _prose(page), re.MULTILINE)
    assert set(table) == set(LINE_OF)
    assert table == sorted(table, key=lambda room: LINE_OF[room])
    drawn = next(block for block in _blocks(page, "text") if "cli" in block.splitlines()[0])
    assert [set(re.findall(r"\w+", line)) for line in drawn.splitlines()] == LINES


def test_function_calling_examples_are_without_fault(tmp_path: Path) -> None:
    for block in _blocks(READMES[0], "jsonl"):
        path = tmp_path / "examples.jsonl"
        path.write_text(block, encoding="utf-8")
        report = check_file(path, minimum_examples=1)
        assert report.ok, report
        assert not report.counts, report


@pytest.fixture(scope="module")
def said(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the script prints, run where its examples are a dozen, against a server with the tiny base."""
    folder = tmp_path_factory.mktemp("readme")
    few = _text(ROOT / EXAMPLES).splitlines(keepends=True)[:12]
    (folder / EXAMPLES).parent.mkdir(parents=True)
    (folder / EXAMPLES).write_text("".join(few), encoding="utf-8")
    (script,) = _blocks(READMES[0], "python")
    from luthier.runtime import LuthierServer  # takes a second, and only one test needs it

    with LuthierServer(Settings(port=0, data=folder / "data", base=str(tiny_base))) as running:
        address = {"OPENAI_BASE_URL": running.endpoint.base_url, "OPENAI_API_KEY": running.endpoint.api_key}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env=os.environ | address,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_script_runs(said: list[str]) -> None:
    assert any(re.fullmatch(r"ftjob-\w+: succeeded", line) for line in said)
    assert re.fullmatch(r"ft:gpt-4o-mini-2024-07-18:personal:home:\w{8}", said[-2])
    assert "role='assistant'" in said[-1]


def test_its_events_are_those_of_the_reference_page_in_order(said: list[str]) -> None:
    page = _text(ROOT / "docs" / "reference" / "events.md")
    (table,) = re.findall(r"## A job that succeeds, in order\n\n(.*?)\n\n", page, re.DOTALL)
    texts = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    patterns = [re.sub(r"\b[A-Z]{2,}\b|\bN\b", ".+", re.escape(text)) + "(; .+)?" for text in texts]
    events = [line for line in said[:-2] if not re.match(r"ftjob-\w+: ", line)]
    positions = [
        next((position for position, pattern in enumerate(patterns) if re.fullmatch(pattern, line)), line)
        for line in events
    ]
    assert positions
    assert [position for position in positions if isinstance(position, str)] == []
    assert positions == sorted(positions)
