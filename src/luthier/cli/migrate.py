"""`luthier migrate`: saves the contents of a hosted fine-tuning account before it is switched off.

`luthier.migrate` does the work; this module reads the options, connects to the account and prints the result.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from luthier.cli.migrate_account import AccountOptions, account_errors, account_progress, project_options
from luthier.cli.migrate_compare import report
from luthier.cli.migrate_import import import_recording
from luthier.cli.migrate_record import record
from luthier.cli.migrate_report import print_inventory
from luthier.cli.migrate_retrain import retrain
from luthier.cli.migrate_switch import switch
from luthier.cli.migrate_verify import verify
from luthier.cli.options import GeneratedFile, Options, account_options, pass_options
from luthier.cli.output import note, print_json
from luthier.language import say


@click.group(
    help=say(
        "Save the contents of a hosted fine-tuning account before it is switched off. On 2027-01-14 OpenAI switches "
        "off the last fine-tuned models: their weights cannot be downloaded, but their data and their answers can be "
        "saved.",
        "在托管的微调账号关闭之前保存其中的内容。OpenAI 将于 2027-01-14 关闭最后一批微调模型："
        "权重无法下载，但数据和回答可以保存下来。",
    )
)
def migrate() -> None:
    pass


@migrate.command(
    short_help=say(
        "List an account's models, their days left, and what will be lost first.",
        "列出账号的模型、剩余天数和会先失去什么。",
    ),
    help=say(
        "List the fine-tuned models of an account with their days left, jobs, files and checkpoints, and what will be "
        "lost first if nothing is done. The command changes nothing and costs nothing.\n\n"
        "Example: luthier migrate inventory --html inventory.html",
        "列出账号中的微调模型及其剩余天数、任务、文件和检查点，并说明什么都不做时会先失去什么。"
        "不改动任何内容，也不产生费用。\n\n例子：luthier migrate inventory --html inventory.html",
    ),
)
@click.option("--html", type=GeneratedFile(".html"), metavar="FILE",
              help=say("Also write the inventory as an HTML page.", "同时写成 HTML 页面。"))  # fmt: skip
@project_options
@account_options
@pass_options
def inventory(options: Options, html: Path | None, project: str | None, organization: str | None) -> None:
    from luthier.migrate.inventory import Inventory
    from luthier.migrate.inventory_text import render_html
    from luthier.migrate.recorder import take_inventory

    target = AccountOptions(options, project, organization)

    async def read() -> Inventory:
        async with target.open() as account:
            with account_progress() as progress:
                return await take_inventory(account, project, progress)

    with account_errors(target.address):
        entries = asyncio.run(read())
    if html:
        html.write_text(render_html(entries), encoding="utf-8")
        note(say(f"Written: {html}", f"已写入：{html}"))
    if options.json:
        print_json(entries.to_dict())
    else:
        print_inventory(entries)


migrate.add_command(record)
migrate.add_command(verify)
migrate.add_command(import_recording)
migrate.add_command(retrain)
migrate.add_command(report)
migrate.add_command(switch)
