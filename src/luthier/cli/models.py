"""`luthier models`: a face of `client.models`; `pull` alone works on this machine's cache instead of a server."""

from __future__ import annotations

import sys

import click

from luthier.cli.connect import open_client
from luthier.cli.options import Options, local_options, pass_options, server_options
from luthier.cli.output import as_json, note, print_details, print_json, print_table, when
from luthier.language import say


@click.group(
    invoke_without_command=True,
    help=say(
        "List, show and delete models; fetch base models.\n\nExample: luthier models pull",
        "列出、查看、删除模型；获取基座模型。\n\n例子：luthier models pull",
    ),
)
@server_options
@click.pass_context
def models(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command(
    "list",
    help=say(
        "List every name that --model and chat accept.\n\nExample: luthier models list --json",
        "列出所有可用于 --model 和 chat 的名称。\n\n例子：luthier models list --json",
    ),
)
@server_options
@pass_options
def list_models(options: Options) -> None:
    with open_client(options) as client:
        found = [as_json(model) for model in client.models.list()]
    if options.json:
        print_json(found)
        return
    columns = ("id", say("owner", "所有者"), say("created", "创建时间"), say("trained from", "训练自"))
    rows = [(model["id"], model.get("owned_by"), when(model.get("created")), model.get("parent")) for model in found]
    print_table(columns, rows)


@models.command(
    "show",
    help=say(
        "Show one model.\n\nExample: luthier models show gpt-3.5-turbo",
        "查看一个模型。\n\n例子：luthier models show gpt-3.5-turbo",
    ),
)
@click.argument("model")
@server_options
@pass_options
def show(options: Options, model: str) -> None:
    with open_client(options) as client:
        found = as_json(client.models.retrieve(model))
    print_json(found) if options.json else print_details(found)


@models.command(
    "delete",
    help=say(
        "Delete a fine-tuned model for good; on a terminal it asks first.\n\n"
        "Example: luthier models delete ft:gpt-3.5-turbo-0125:personal::abc12345",
        "永久删除微调模型；在终端上会先询问。\n\n例子：luthier models delete ft:gpt-3.5-turbo-0125:personal::abc12345",
    ),
)
@click.argument("model")
@click.option("--yes", is_flag=True, help=say("Do not ask.", "不询问。"))
@server_options
@pass_options
def delete(options: Options, model: str, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        click.confirm(say(f"Delete {model} for good?", f"永久删除 {model}？"), abort=True, err=True)
    with open_client(options) as client:
        answer = as_json(client.models.delete(model))
    print_json(answer) if options.json else note(say(f"Deleted {model}.", f"已删除 {model}。"))


@models.command(
    "pull",
    help=say(
        "Fetch a base model into the cache, so that serving and training need no network later; without NAME, the "
        "default one. Prints the folder.\n\nExample: luthier models pull",
        "把基座模型下载并转换到缓存，之后的训练和对话不再需要网络；不给出 NAME 时获取默认的基座模型。"
        "打印所在文件夹。\n\n例子：luthier models pull",
    ),
)
@click.argument("name", required=False)
@local_options
@pass_options
def pull(options: Options, name: str | None) -> None:
    from luthier import catalogue

    folder = catalogue.pull(name, note)
    print_json({"path": str(folder)}) if options.json else click.echo(folder)
