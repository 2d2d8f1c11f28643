"""The options that commands share, written once: --base-url, --api-key, --data, --json (--lang is in `speech`).

They are collected in one `Options` per command line, so that `luthier jobs --json list` and `luthier jobs list --json`
mean the same. Knows nothing about what is done with them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from luthier.cli.i18n import lang_option
from luthier.language import say

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Options:
    """What the command line and the environment say; `typed` holds the names given on the command line itself."""

    base_url: str | None = None
    api_key: str | None = None
    data: Path | None = None
    json: bool = False
    typed: set[str] = field(default_factory=set)


pass_options = click.make_pass_decorator(Options, ensure=True)


class Picture(click.Path):
    """A file that is made anew each time, for looking at: its ending keeps it from taking the place of data."""

    def __init__(self, ending: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.ending = ending

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        super().convert(path, param, ctx)
        if path.suffix != self.ending:
            self.fail(say(f"{path} does not end in {self.ending}.", f"{path} 应以 {self.ending} 结尾。"), param, ctx)
        if not path.parent.is_dir():
            self.fail(say(f"There is no folder {path.parent}.", f"文件夹 {path.parent} 不存在。"), param, ctx)
        return path


def server_options(command: Command) -> Command:
    """Adds the options of a command that speaks to a server."""
    for option in (lang_option, _json, _data, _api_key, _base_url):
        command = option(command)
    return command


def server_options_beside_data(command: Command) -> Command:
    """The same for `evaluate`, whose --data may also name the file to evaluate on."""
    for option in (lang_option, _json, _data_or_file, _api_key, _base_url):
        command = option(command)
    return command


def local_options(command: Command) -> Command:
    """Adds the options of a command that needs no server."""
    return _json(lang_option(command))


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    options = ctx.ensure_object(Options)
    if not value or param.name is None:
        return
    setattr(options, param.name, value)
    if ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        options.typed.add(param.name)


def _shared(flag: str, help_text: str, variable: str | None = None, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(
        flag,
        envvar=variable,
        show_envvar=variable is not None,
        expose_value=False,
        callback=_keep,
        help=help_text,
        **attributes,
    )


_base_url = _shared(
    "--base-url",
    say(
        "The server, such as http://127.0.0.1:8000/v1. None: the one that runs on the data folder, else one started "
        "for this command.",
        "服务器地址，例如 http://127.0.0.1:8000/v1。不给出时：连接数据文件夹上正在运行的服务器，没有则临时启动一个。",
    ),
    "OPENAI_BASE_URL",
    metavar="URL",
)
_api_key = _shared(
    "--api-key",
    say("The server's key, if it asks for one.", "服务器的密钥（如果需要）。"),
    "OPENAI_API_KEY",
    metavar="KEY",
)
_data = _shared(
    "--data",
    say("The server's data folder.", "服务器的数据文件夹。"),
    "LUTHIER_DATA",
    type=click.Path(file_okay=False, path_type=Path),
)
_data_or_file = _shared(
    "--data",
    say(
        "The server's data folder; or the FILE of held-out examples.",
        "服务器的数据文件夹；也可以是留出样本的文件 FILE。",
    ),
    "LUTHIER_DATA",
    type=click.Path(path_type=Path),
)
_json = _shared(
    "--json",
    say("Print one JSON document to stdout and nothing else.", "只向标准输出打印一个 JSON 文档。"),
    is_flag=True,
)
