"""`luthier migrate`: what a hosted fine-tuning account holds, saved before it is switched off.

The work is `luthier.migrate`'s; this module reads options, connects to the account and prints the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luthier.cli.client import new_async_client, new_client, server_address, server_key
from luthier.cli.errors import client_errors_translated
from luthier.cli.migrate_report import print_inventory
from luthier.cli.options import GeneratedFile, Options, account_options, pass_options
from luthier.cli.output import note, print_json, spinner
from luthier.language import say

if TYPE_CHECKING:
    from luthier.migrate.account import Account

Command = TypeVar("Command", bound=Callable[..., Any])
OPENAI_URL = "https://api.openai.com/v1"
TIMEOUT_S = 120.0


@click.group(
    help=say(
        "Save what a hosted fine-tuning account holds before it is switched off. On 2027-01-14 OpenAI switches off the "
        "last fine-tuned models: their weights cannot be downloaded, but their data and their answers can be saved.",
        "在托管的微调账号关闭之前保存其中的内容。OpenAI 将于 2027-01-14 关闭最后一批微调模型："
        "权重无法下载，但数据和回答可以保存下来。",
    )
)
def migrate() -> None:
    pass


def project_options(command: Command) -> Command:
    project = click.option("--project", envvar="OPENAI_PROJECT_ID", show_envvar=True, metavar="ID",
                           help=say("The project of the account.", "账号中的项目。"))  # fmt: skip
    organization = click.option("--organization", envvar="OPENAI_ORG_ID", show_envvar=True, metavar="ID",
                                help=say("The organization of the account.", "账号所属的组织。"))  # fmt: skip
    return project(organization(command))


@migrate.command(
    help=say(
        "List the fine-tuned models of an account with their days left, jobs, files and checkpoints, and what is lost "
        "first if nothing is done. Nothing is changed and nothing is billed.\n\n"
        "Example: luthier migrate inventory --html inventory.html",
        "列出账号中的微调模型及其剩余天数、任务、文件和检查点，并说明什么都不做时会先失去什么。"
        "不改动任何内容，也不产生费用。\n\n例子：luthier migrate inventory --html inventory.html",
    )
)
@click.option("--html", type=GeneratedFile(".html"), metavar="FILE",
              help=say("Also write the inventory as an HTML page.", "同时写成 HTML 页面。"))  # fmt: skip
@project_options
@account_options
@pass_options
def inventory(options: Options, html: Path | None, project: str | None, organization: str | None) -> None:
    from luthier.migrate.inventory_text import render_html
    from luthier.migrate.survey import Survey

    address = server_address(options, OPENAI_URL)
    with client_errors_translated(address), spinner(say("Reading the account …", "正在读取账号……")):

        async def read() -> Any:
            async with _account(options, project, organization) as account:
                return await Survey(account).inventory(datetime.now(UTC).date(), project)

        survey = asyncio.run(read())
    if html:
        html.write_text(render_html(survey), encoding="utf-8")
        note(say(f"Written: {html}", f"已写入：{html}"))
    if options.json:
        print_json(survey.to_dict())
    else:
        print_inventory(survey)


@asynccontextmanager
async def _account(options: Options, project: str | None, organization: str | None) -> AsyncIterator[Account]:
    from luthier.migrate.account import Account

    address = server_address(options, OPENAI_URL)
    with new_client(address, server_key(options, address)) as client:
        async with new_async_client(client, TIMEOUT_S) as plain:
            scoped = plain.with_options(project=project, organization=organization)
            yield Account(scoped)
