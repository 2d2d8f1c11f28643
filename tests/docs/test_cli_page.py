"""`docs/reference/cli.md` has the help of every command; `python tests/docs/test_cli_page.py` makes it anew.

Help texts take their language when a command is imported, so each language has a process of its own.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, it begins in its own folder

from generated_pages import fill, pages, table
from luthier.cli import main
from luthier.cli.click_texts import usage
from luthier.language import say
from luthier.settings import Settings

pytestmark = pytest.mark.services

PAGES = pages("cli")
COMMAND = "python tests/docs/test_cli_page.py"
SLOW = {"fastapi", "luthier.store", "luthier.worker", "numpy", "openai", "torch", "transformers"}
SHARED = ("base_url", "api_key", "data", "json", "lang")
_EXAMPLE = re.compile(r"\n+(?:Examples?: |例子：)")


def parts() -> dict[str, str]:
    """The generated parts of the page, in the language of this process."""
    return {"shared options": _shared(), "commands": "\n".join(_sections(main, click.Context(main), "luthier"))}


def _sections(group: click.Group, context: click.Context, path: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        command_context = click.Context(command, parent=context, info_name=name)
        yield _section(command, command_context, f"{path} {name}")
        if isinstance(command, click.Group):
            yield from _sections(command, command_context, f"{path} {name}")


def _section(command: click.Command, context: click.Context, path: str) -> str:
    """Heading, help, arguments and options of one command."""
    description, *examples = _EXAMPLE.split(command.help or "", maxsplit=1)
    arguments = " ".join(param.make_metavar(context) for param in command.params if isinstance(param, click.Argument))
    heading = "#" * path.count(" ") + "#"
    lines = [f"{heading} {path}\n", f"{_escape(description)}\n"]
    if not isinstance(command, click.Group):
        lines.append(f"`{' '.join(filter(None, (path, arguments, usage('[OPTIONS]'))))}`\n")
    lines += [say("Example: ", "例子：") + _code(example) + "\n" for example in examples]
    own = [param for param in command.params if param.name not in (*SHARED, *Settings.model_fields)]
    records = [record for param in own if (record := param.get_help_record(context))]
    if records:
        lines.append(table((say("option", "选项"), say("meaning", "含义")), map(_row, records)))
    if "host" in {param.name for param in command.params}:
        lines.append(
            say("Each [setting](settings.md) is an option too.\n", "每项[设置](settings.zh-CN.md)也都是一个选项。\n")
        )
    shared = [f"`--{param.name.replace('_', '-')}`" for param in command.params if param.name in SHARED]
    if shared:
        lines.append(say("Shared: ", "共用选项：") + say(", ", "、").join(shared) + say(".", "。") + "\n")
    return "\n".join(lines)


def _shared() -> str:
    context = click.Context(main)
    watch = main.get_command(context, "watch")
    assert watch
    records = [param.get_help_record(click.Context(watch)) for param in watch.params if param.name in SHARED]
    return table((say("option", "选项"), say("meaning", "含义")), [_row(record) for record in records if record])


def _row(record: tuple[str, str]) -> tuple[str, str]:
    return f"`{record[0]}`", _escape(record[1])


def _code(example: str) -> str:
    """A single command as code, anything else as text."""
    line = " ".join(example.split())
    return f"`{line}`" if line.startswith("luthier ") and not re.search(r"[,，;；]|then", line) else _escape(line)


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;").replace("*", "\\*")


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    return write_pages()


@pytest.mark.parametrize("language", PAGES)
def test_the_page_is_what_the_help_says(language: str, written: dict[str, dict[str, Any]]) -> None:
    assert PAGES[language].read_text(encoding="utf-8") == written[language]["page"], f"run: {COMMAND}"


def test_commands_start_without_slow_imports(written: dict[str, dict[str, Any]]) -> None:
    assert written["en"]["slow imports"] == [], "import them in the function that needs them"


def write_pages() -> dict[str, dict[str, Any]]:
    """By language the whole page, and which of SLOW the commands imported; each by a process of its language."""
    processes = {}
    for language in PAGES:
        environment = os.environ | {"LUTHIER_LANG": language}
        command = [sys.executable, __file__, "--print", language]
        processes[language] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    return {language: json.loads(process.communicate()[0]) for language, process in processes.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--print"]:
        page = fill(PAGES[sys.argv[2]], parts())
        print(json.dumps({"page": page, "slow imports": sorted(SLOW & sys.modules.keys())}))
    else:
        for name, document in write_pages().items():
            PAGES[name].write_text(document["page"], encoding="utf-8")
