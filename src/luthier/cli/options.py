"""The options that commands share: --base-url, --api-key, --data, --json (--lang is in `i18n`).

They are collected in one `Options` object per command line, so that `luthier jobs --json list` and
`luthier jobs list --json` are equivalent.
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
    """The values of the shared options; `on_command_line` has the names of those that were typed."""

    base_url: str | None = None
    api_key: str | None = None
    data: Path | None = None
    json: bool = False
    on_command_line: set[str] = field(default_factory=set)


pass_options = click.make_pass_decorator(Options, ensure=True)


class GeneratedFile(click.Path):
    """Option type: an output file that may be overwritten. The required suffix protects data files."""

    def __init__(self, suffix: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        super().convert(path, param, ctx)
        if path.suffix != self.suffix:
            self.fail(say(f"{path} does not end in {self.suffix}.", f"{path} 应以 {self.suffix} 结尾。"), param, ctx)
        if not path.parent.is_dir():
            self.fail(say(f"There is no folder {path.parent}.", f"文件夹 {path.parent} 不存在。"), param, ctx)
        return path


def option(flag: str, en: str, zh: str, **attributes: Any) -> Callable[[Command], Command]:
    """A click option with help in both languages, which shows the default, if any; `name` is the parameter's name."""
    names = (flag, attributes.pop("name")) if "name" in attributes else (flag,)
    attributes.setdefault("show_default", "default" in attributes)
    return click.option(*names, help=say(en, zh), **attributes)


class NamePair(click.ParamType[tuple[str, str]]):
    """Option type: two names joined by an equals sign; `form`, such as OLD=NEW, is shown in the help."""

    name = "pair"

    def __init__(self, form: str, *, second_may_be_empty: bool = False) -> None:
        self._form, self._second_may_be_empty = form, second_may_be_empty

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return self._form

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):  # the default is a pair already
            return value
        first, separator, second = value.partition("=")
        if not (first and separator and (second or self._second_may_be_empty)):
            self.fail(say(f"'{value}' is not {self._form}.", f"“{value}” 不是 {self._form} 的形式。"), param, ctx)
        return first, second


def server_options(command: Command) -> Command:
    """Adds the options of a command that connects to a server."""
    for add in (lang_option, _json, _data, _api_key, _base_url):
        command = add(command)
    return command


def data_options(command: Command) -> Command:
    """Adds the options of a command that works on a data folder directly."""
    for add in (lang_option, _json, _data):
        command = add(command)
    return command


def account_options(command: Command) -> Command:
    """Adds the options of a command that reads a hosted account instead of a local data folder."""
    for add in (lang_option, _json, _api_key, _account_url):
        command = add(command)
    return command


def server_options_with_file(command: Command) -> Command:
    """Adds the options of `evaluate`, where --data may also be the file of held-out examples."""
    for add in (lang_option, _json, _data_or_file, _api_key, _base_url):
        command = add(command)
    return command


def local_options(command: Command) -> Command:
    """Adds the options of a command that needs no server."""
    return _json(lang_option(command))


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    options = ctx.ensure_object(Options)
    if not value or param.name is None:
        return
    setattr(options, param.name, value)
    if ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        options.on_command_line.add(param.name)


def _shared(flag: str, help_text: str, variable: str | None = None, **attributes: Any) -> Callable[[Command], Command]:
    return click.option(
        flag,
        envvar=variable,
        show_envvar=variable is not None,
        expose_value=False,
        callback=_store,
        help=help_text,
        **attributes,
    )


_base_url = _shared(
    "--base-url",
    say(
        "The server's address, such as http://127.0.0.1:8000/v1. Default: the server running on the data folder; if "
        "there is none, one is started for this command.",
        "服务器地址，例如 http://127.0.0.1:8000/v1。默认连接数据文件夹上正在运行的服务器，没有则为本命令启动一个。",
    ),
    "OPENAI_BASE_URL",
    metavar="URL",
)
_account_url = _shared(
    "--base-url",
    say(
        "The account's address, such as https://NAME.openai.azure.com/openai/v1. Default: https://api.openai.com/v1.",
        "账号的地址，例如 https://NAME.openai.azure.com/openai/v1。默认为 https://api.openai.com/v1。",
    ),
    "OPENAI_BASE_URL",
    metavar="URL",
)
_api_key = _shared(
    "--api-key",
    say("The server's API key, if it requires one.", "服务器的 API 密钥（如果需要）。"),
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
        "The server's data folder, or the FILE of held-out examples.",
        "服务器的数据文件夹；也可以是留出样本的文件 FILE。",
    ),
    "LUTHIER_DATA",
    type=click.Path(path_type=Path),
)
_json = _shared(
    "--json",
    say("Print a single JSON document to stdout.", "向标准输出打印一个 JSON 文档。"),
    is_flag=True,
)
