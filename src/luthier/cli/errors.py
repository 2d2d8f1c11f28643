"""What goes wrong, said once: the cause, the remedy, an exit code; never a traceback.

Knows the `openai` client's exceptions, and imports the client only when there is one to explain.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from luthier.cli.i18n import printable
from luthier.language import say
from luthier.types.errors import RenamedSettingWarning

if TYPE_CHECKING:
    import openai

# By status: what to do about it. Statuses that are not here have their remedy in the server's message.
REMEDIES = {
    401: (
        "Pass the server's key with --api-key or OPENAI_API_KEY.",
        "用 --api-key 或 OPENAI_API_KEY 给出服务器的密钥。",
    ),
    404: (
        "`luthier jobs`, `luthier files` and `luthier models` list what this server has.",
        "`luthier jobs`、`luthier files`、`luthier models` 会列出该服务器上有什么。",
    ),
    429: ("The server is busy or a limit is reached: try again later.", "服务器繁忙或已达限额：请稍后再试。"),
    500: ("The server's own log says more.", "详情见服务器自己的日志。"),
}
WOUND_DOWN = (
    "OpenAI takes no new fine-tuning jobs. Leave out --base-url and OPENAI_BASE_URL to train on this machine.",
    "OpenAI 已不再接受新的微调任务。去掉 --base-url 和 OPENAI_BASE_URL，即可在本机训练。",
)
ADDRESS = ("Is the address right? It usually ends in /v1.", "地址对吗？通常以 /v1 结尾。")


class Trouble(click.ClickException):
    """Ends the command with a cause and a remedy on stderr."""

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        # Shown when the command is over, and its --lang with it: so the language is chosen here.
        self.opening, self.remedy = say("Error: ", "错误："), remedy

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(click.style(self.opening, fg="red", bold=True) + printable(self.message), file, err=True)
        if self.remedy:
            click.echo(self.remedy, file, err=True)


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
def explained(address: str) -> Iterator[None]:
    """Inside it, every exception of the `openai` client becomes a `Trouble`."""
    import openai

    try:
        yield
    except openai.OpenAIError as error:
        raise explain(error, address) from error
    except AttributeError as error:
        # The client hands on the text of an answer that is not JSON; the first look for a field then fails.
        if not isinstance(error.obj, str):
            raise
        raise Trouble(
            say(f"What answers at {address} is not this API.", f"{address} 应答的不是这个接口。"), say(*ADDRESS)
        ) from error


def explain(error: openai.OpenAIError, address: str) -> Trouble:
    """`error` as a person can act on it; `address` is the server's base URL."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return Trouble(say(f"{address} did not answer in time.", f"{address} 没有及时应答。"), say(*REMEDIES[500]))
    if isinstance(error, openai.APIConnectionError):
        return Trouble(
            say(f"No server answers at {address}.", f"{address} 没有服务器应答。"),
            say(
                "Start one with `luthier serve`, correct the address, or leave out --base-url and OPENAI_BASE_URL: "
                "the command then brings its own server.",
                "用 `luthier serve` 启动服务器，或改正地址；去掉 --base-url 和 OPENAI_BASE_URL 时，命令会自带服务器。",
            ),
        )
    if isinstance(error, openai.APIStatusError):
        return Trouble(_message(error, address), _remedy(error))
    text = getattr(error, "message", None) or str(error)
    return Trouble(say(f"The server's answer broke off: {text}", f"服务器的应答中断：{text}"), say(*REMEDIES[500]))


def _message(error: openai.APIStatusError, address: str) -> str:
    if isinstance(error.body, dict) and error.body.get("message"):
        return str(error.body["message"])
    return say(
        f"{address} answered with status {error.status_code} and no OpenAI error.",
        f"{address} 返回状态 {error.status_code}，而且不是 OpenAI 格式的错误。",
    )


def _remedy(error: openai.APIStatusError) -> str:
    if error.code == "training_not_available":
        return say(*WOUND_DOWN)
    if not isinstance(error.body, dict):
        return say(*ADDRESS)
    status = 500 if error.status_code >= 500 else error.status_code
    return say(*REMEDIES[status]) if status in REMEDIES else ""


def settings_trouble(error: ValueError) -> Exception:
    """What is wrong with the settings, by flag and variable; any other ValueError as it is."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    if isinstance(error, SettingsError):
        return Trouble(str(error), say("Tables are written as JSON.", "表格类的设置用 JSON 书写。"))
    if not isinstance(error, ValidationError) or error.title != "Settings":
        return error
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        lines.append(f"--{name.replace('_', '-')} / LUTHIER_{name.upper()}: {problem['msg']}")
    return Trouble("\n".join(lines), say("`luthier serve --help` explains them.", "`luthier serve --help` 有说明。"))
