"""`luthier alias`: model names in the config file, which servers read when they start."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click

from luthier.cli.errors import CliError
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import note, print_json, print_table
from luthier.language import say
from luthier.types.durable_text import write_durably

_SECTION = re.compile(r"^\[aliases\][^\n]*\n(?:(?!\[)[^\n]*\n?)*", re.MULTILINE)


@click.group(
    invoke_without_command=True,
    help=say(
        "Short names for models, kept in the config file; servers read them when they start.\n\n"
        "Example: luthier alias set mini Qwen/Qwen3-0.6B",
        "给模型起短名称，保存在配置文件中；服务器启动时读取。\n\n例子：luthier alias set mini Qwen/Qwen3-0.6B",
    ),
)
@local_options
@click.pass_context
def alias(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_aliases)


@alias.command(
    "list",
    help=say(
        "List the aliases of the config file and the environment.\n\nExample: luthier alias list",
        "列出配置文件和环境变量中的别名。\n\n例子：luthier alias list",
    ),
)
@local_options
@pass_options
def list_aliases(options: Options) -> None:
    from luthier.settings import Settings

    names = Settings().aliases
    if options.json:
        print_json(names)
        return
    empty = say(
        "No aliases yet: luthier alias set NAME MODEL. OpenAI's names stand for the base model.",
        "还没有别名：luthier alias set NAME MODEL。OpenAI 的模型名称代表基座模型。",
    )
    print_table((say("name", "名称"), say("model", "模型")), sorted(names.items()), empty=empty)


@alias.command(
    "set",
    help=say(
        "Make NAME stand for MODEL: a catalogue entry, a pulled model, a model folder, or upstream:MODEL.\n\n"
        "Example: luthier alias set gpt-4o upstream:gpt-4o",
        "让 NAME 代表 MODEL：目录中的模型、获取过的模型、模型文件夹，或 upstream:MODEL。\n\n"
        "例子：luthier alias set gpt-4o upstream:gpt-4o",
    ),
)
@click.argument("name")
@click.argument("model")
@local_options
@pass_options
def set_alias(options: Options, name: str, model: str) -> None:
    from luthier.settings import Settings

    target = str(Path(model).expanduser().absolute()) if Path(model).expanduser().is_dir() else model
    Settings(aliases={name: target})  # raises for a name that cannot be an alias
    write_aliases({**read_aliases(), name: target})
    _report(options, {"name": name, "model": target}, say(f"{name} → {target}", f"{name} → {target}"))


@alias.command(
    "remove",
    help=say(
        "Remove an alias from the config file.\n\nExample: luthier alias remove mini",
        "从配置文件中删除别名。\n\n例子：luthier alias remove mini",
    ),
)
@click.argument("name")
@local_options
@pass_options
def remove(options: Options, name: str) -> None:
    aliases = read_aliases()
    if name not in aliases:
        raise CliError(
            say(f"The config file has no alias {name}.", f"配置文件中没有别名 {name}。"),
            say("See: luthier alias list", "请看：luthier alias list"),
        )
    del aliases[name]
    write_aliases(aliases)
    _report(options, {"name": name, "removed": True}, say(f"Removed {name}.", f"已删除 {name}。"))


def _report(options: Options, document: dict[str, object], text: str) -> None:
    if options.json:
        print_json(document)
        return
    note(text)
    note(say("Servers read it at their next start.", "服务器下次启动时生效。"), "dim")


def read_aliases() -> dict[str, str]:
    """The aliases in the config file; empty if there is none."""
    from luthier.types.plain_settings import config_path

    path = config_path()
    return dict(tomllib.loads(path.read_text(encoding="utf-8")).get("aliases", {})) if path.is_file() else {}


def write_aliases(aliases: dict[str, str]) -> None:
    """Replaces the section `[aliases]` of the config file and leaves the rest unchanged. Raises CliError, OSError."""
    from luthier.types.plain_settings import config_path

    path = config_path()
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    rest = _SECTION.sub("", before if before.endswith("\n") or not before else before + "\n").rstrip("\n")
    lines = [f"{_quoted(name)} = {_quoted(target)}" for name, target in sorted(aliases.items())]
    section = "\n".join(["[aliases]", *lines]) if lines else ""
    text = "\n\n".join(part for part in (rest, section) if part) + "\n"
    _check(path, text, aliases)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text, mode=path.stat().st_mode & 0o777 if path.exists() else 0o600)  # it may contain keys


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check(path: Path, text: str, aliases: dict[str, str]) -> None:
    """Raises CliError if the edited text would not define exactly `aliases`, as when an inline table defines some."""
    try:
        edited = tomllib.loads(text).get("aliases", {})
    except tomllib.TOMLDecodeError:
        edited = None
    if edited != aliases:
        raise CliError(
            say(f"{path} cannot be edited automatically.", f"无法自动修改 {path}。"),
            say("Write its aliases as a section [aliases].", "请把别名写成 [aliases] 小节。"),
        )
