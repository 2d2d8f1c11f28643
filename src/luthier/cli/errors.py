"""The errors of the command line: cause, remedy and exit code instead of a traceback.

The `openai` client is imported only when one of its exceptions is translated.
"""

from __future__ import annotations

import shlex
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from luthier.cli.i18n import printable
from luthier.error_texts import chinese_error
from luthier.language import say
from luthier.types.errors import RenamedSettingWarning

if TYPE_CHECKING:
    import openai

# HTTP status → remedy. For other statuses, the server's message contains the remedy.
REMEDIES = {
    401: (
        "Set the server's API key with --api-key or OPENAI_API_KEY.",
        "用 --api-key 或 OPENAI_API_KEY 给出服务器的 API 密钥。",
    ),
    404: (
        "`luthier jobs`, `luthier files` and `luthier models` list the objects of this server.",
        "`luthier jobs`、`luthier files`、`luthier models` 会列出该服务器上有什么。",
    ),
    429: ("The server is busy or a rate limit is exceeded: try again later.", "服务器繁忙或超过速率限制：请稍后再试。"),
    500: ("See the server's log for details.", "详情见服务器的日志。"),
}
CHINESE_SETTING_ERRORS = {  # pydantic's type of error → text
    "cpu_tier": "LUTHIER_CPU_TIER={limit}：这个 CPU 的层级有 {tiers}",
    "shard_base": "shard_base 需要 training_processes 至少为 2，每个 GPU 一个进程",
    "int_parsing": "应为整数",
    "float_parsing": "应为数字",
    "bool_parsing": "应为 true 或 false",
    "greater_than_equal": "应不小于 {ge}",
    "less_than_equal": "应不大于 {le}",
    "literal_error": "可选值：{expected}",
    "string_pattern_mismatch": "不符合格式 {pattern}",
    "dict_type": "应为 JSON 对象",
    "path_type": "应为路径",
}
OPENAI_CLOSED = (
    "OpenAI no longer accepts fine-tuning jobs. Leave out --base-url and OPENAI_BASE_URL to train on this machine.",
    "OpenAI 已不再接受新的微调任务。去掉 --base-url 和 OPENAI_BASE_URL，即可在本机训练。",
)
ADDRESS_HINT = ("Is the address correct? It usually ends in /v1.", "地址对吗？通常以 /v1 结尾。")


class CliError(click.ClickException):
    """An error that ends the command with exit code 2 and is printed to stderr with its remedy."""

    exit_code = 2

    def __init__(self, message: str, remedy: str = "", fields: Mapping[str, Any] | None = None) -> None:
        """`fields` are those of an API error that --json prints: status, code, param and type."""
        super().__init__(message)
        # Chosen now, because the language of --lang no longer applies when click shows the error.
        self.prefix, self.remedy, self.fields = say("Error: ", "错误："), remedy, dict(fields or {})

    def show(self, file: IO[Any] | None = None) -> None:
        from rich.text import Text  # rich takes a tenth of a second to import

        from luthier.cli.output import note, stderr_console

        text = Text.assemble((self.prefix, "bold red"), printable(self.message))
        stderr_console().print(text, soft_wrap=True)
        if self.remedy:
            note(self.remedy)


def refused_file(file: Path, en: str, zh: str, reason: str) -> CliError:
    """The error for a file of examples that a command cannot use.

    `en` and `zh` say what the command cannot do with the file, such as "cannot be split"; `reason` is a sentence.
    """
    command = shlex.join(["luthier", "check", str(file)])
    return CliError(say(f"{file} {en}. {reason} See: {command}", f"{file} {zh}。{reason}请看：{command}"))


def error_document(error: click.ClickException) -> dict[str, Any]:
    """The document that --json prints instead of a result. The message of an API error is in the user's language."""
    fields: dict[str, Any] = {"message": printable(error.format_message())}
    if isinstance(error, CliError):
        fields |= {"remedy": error.remedy, **error.fields}
    return {"error": fields | {"exit_code": error.exit_code}}


@contextmanager
def renamed_settings_shown() -> Iterator[None]:
    """Prints each `RenamedSettingWarning` as one line on stderr, without Python's file and line number."""
    original = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *position: Any, **options: Any) -> None:
        if issubclass(category, RenamedSettingWarning):
            click.echo(click.style(say("Warning: ", "警告："), fg="yellow") + printable(str(message)), err=True)
        else:
            original(message, category, *position, **options)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original


@contextmanager
def client_errors_translated(address: str) -> Iterator[None]:
    """Translates every exception of the `openai` client into a `CliError`."""
    import openai

    try:
        yield
    except openai.OpenAIError as error:
        raise translate_client_error(error, address) from error
    except AttributeError as error:
        # If a response is not JSON, the client returns its text, and the first access to an attribute fails.
        if not isinstance(error.obj, str):
            raise
        raise CliError(
            say(f"{address} does not serve this API.", f"{address} 提供的不是这个 API。"), say(*ADDRESS_HINT)
        ) from error


def translate_client_error(error: openai.OpenAIError, address: str) -> CliError:
    """The `CliError` for an exception of the client; `address` is the server's base URL."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return CliError(say(f"{address} timed out.", f"{address} 响应超时。"), say(*REMEDIES[500]))
    if isinstance(error, openai.APIConnectionError):
        return CliError(
            say(f"There is no server at {address}.", f"{address} 没有服务器。"),
            say(
                "Start one with `luthier serve`, correct the address, or leave out --base-url and OPENAI_BASE_URL: "
                "the command then starts its own server.",
                "用 `luthier serve` 启动服务器，或改正地址；去掉 --base-url 和 OPENAI_BASE_URL 时，"
                "命令会自己启动服务器。",
            ),
        )
    if isinstance(error, openai.APIStatusError):
        body = error.body if isinstance(error.body, dict) else {}
        fields = {"status": error.status_code, **{key: body.get(key) for key in ("code", "param", "type")}}
        return CliError(_message(error, address), _remedy(error), fields)
    text = getattr(error, "message", None) or str(error)
    return CliError(say(f"The server's response was cut off: {text}", f"服务器的响应中断：{text}"), say(*REMEDIES[500]))


def _message(error: openai.APIStatusError, address: str) -> str:
    if isinstance(error.body, dict) and error.body.get("message"):
        message = str(error.body["message"])
        return say(message, chinese_error(error.status_code, message, error.code, error.body.get("param")))
    return say(
        f"{address} returned status {error.status_code} without an error in OpenAI's format.",
        f"{address} 返回状态 {error.status_code}，且没有 OpenAI 格式的错误信息。",
    )


def _remedy(error: openai.APIStatusError) -> str:
    if error.code == "training_not_available":
        return say(*OPENAI_CLOSED)
    if not isinstance(error.body, dict):
        return say(*ADDRESS_HINT)
    status = 500 if error.status_code >= 500 else error.status_code
    return say(*REMEDIES[status]) if status in REMEDIES else ""


def _chinese_setting_error(detail: Mapping[str, Any]) -> str:
    """A pydantic error in Chinese; kinds of errors without a Chinese text keep the English one."""
    template = CHINESE_SETTING_ERRORS.get(detail["type"])
    return template.format_map(detail.get("ctx") or {}) if template else f"取值无效：{_reason(detail)}"


def _reason(detail: Mapping[str, Any]) -> str:
    """The message of a pydantic error, without pydantic's prefix."""
    return str(detail["msg"]).removeprefix("Value error, ")


def settings_error(error: ValueError) -> Exception:
    """The `CliError` for invalid settings, with their flags and variables; any other ValueError is returned as is."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    if isinstance(error, tomllib.TOMLDecodeError):
        from luthier.types.plain_settings import config_path

        path = config_path()
        return CliError(
            say(f"{path} is not valid TOML: {error}", f"{path} 不是有效的 TOML：{error}"),
            say("Lines look like: port = 8080", "每行的格式如：port = 8080"),
        )
    if isinstance(error, SettingsError):
        return CliError(str(error), say("Settings with several values are JSON objects.", "多值设置用 JSON 对象书写。"))
    if not isinstance(error, ValidationError) or error.title != "Settings":
        return error
    lines = []
    for detail in error.errors():
        text = say(_reason(detail), _chinese_setting_error(detail))
        for name in map(str, detail["loc"][:1]):  # empty where several settings are inconsistent: the text names them
            text = f"--{name.replace('_', '-')} / LUTHIER_{name.upper()}: {text}"
        lines.append(text)
    hint = say(
        "`luthier serve --help` describes the settings; `luthier config path` prints the path of the config file.",
        "设置的说明见 `luthier serve --help`；配置文件的路径见 `luthier config path`。",
    )
    return CliError("\n".join(lines), hint)
