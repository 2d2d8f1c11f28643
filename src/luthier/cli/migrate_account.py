"""The account that `luthier migrate` reads: its options, the connection, and the display of progress."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luthier.cli.client import new_async_client, new_client, server_address, server_key
from luthier.cli.errors import CliError, client_errors_translated
from luthier.cli.options import Options
from luthier.cli.output import note, stderr_console
from luthier.language import say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from luthier.migrate.account import Account

Command = TypeVar("Command", bound=Callable[..., Any])
OPENAI_URL = "https://api.openai.com/v1"
TIMEOUT_S = 120.0
_NOTE_INTERVAL_S = 10.0
_PARTS = {
    "models": ("models", "模型"),
    "jobs": ("jobs", "任务"),
    "files": ("files", "文件"),
    "stored_completions": ("stored completions", "保存的对话补全"),
    "batches": ("batches", "批处理"),
    "answers": ("answers", "回答"),
}


@dataclass(frozen=True)
class AccountOptions:
    """The options that select an account: address and key, and the project and organization to read."""

    options: Options
    project: str | None
    organization: str | None

    @property
    def address(self) -> str:
        return server_address(self.options, OPENAI_URL)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Account]:
        """A connection to the account, for the duration of the context."""
        from luthier.migrate.account import Account

        with new_client(self.address, server_key(self.options, self.address)) as client:
            async with new_async_client(client, TIMEOUT_S) as plain:
                yield Account(plain.with_options(project=self.project, organization=self.organization))


@contextmanager
def account_errors(address: str) -> Iterator[None]:
    """Translates the client's exceptions into `CliError`. The remedies are those for a hosted account."""
    import openai

    try:
        with client_errors_translated(address):
            yield
    except CliError as error:
        if not isinstance(error.__cause__, openai.APIConnectionError):
            raise
        raise CliError(
            say(f"{address} cannot be reached: {error.__cause__}", f"无法连接 {address}：{error.__cause__}"),
            say("Check the address, the network and the proxy. Everything recorded so far is kept; run the command "
                "again.",
                "请检查地址、网络和代理。已录制的内容都在；重新运行即可。"),
        ) from error  # fmt: skip


def project_options(command: Command) -> Command:
    """Adds --project and --organization."""
    project = click.option("--project", envvar="OPENAI_PROJECT_ID", show_envvar=True, metavar="ID",
                           help=say("The project of the account.", "账号中的项目。"))  # fmt: skip
    organization = click.option("--organization", envvar="OPENAI_ORG_ID", show_envvar=True, metavar="ID",
                                help=say("The organization of the account.", "账号所属的组织。"))  # fmt: skip
    return project(organization(command))


@contextmanager
def account_progress() -> Iterator[Callable[..., None]]:
    """Yields a callback (part, done, total, dollars) that updates progress bars, or prints lines off terminals."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = stderr_console()
    if not console.is_terminal:
        yield _line_progress()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(part: str, done: int, total: int, dollars: float | None = None) -> None:
            if part not in tasks:
                tasks[part] = bars.add_task(_description(part, dollars), total=None)
            bars.update(tasks[part], description=_description(part, dollars), completed=done, total=total or None)

        yield show


def _line_progress() -> Callable[..., None]:
    last = time.monotonic()

    def show(part: str, done: int, total: int, dollars: float | None = None) -> None:
        nonlocal last
        if time.monotonic() - last >= _NOTE_INTERVAL_S:
            last = time.monotonic()
            note(f"{_description(part, dollars)}: {done}" + (f"/{total}" if total else ""))

    return show


def _description(part: str, dollars: float | None) -> str:
    name = say(*_PARTS[part]) if part in _PARTS else part
    return name if dollars is None else f"{name} (${dollars:.4f})"
