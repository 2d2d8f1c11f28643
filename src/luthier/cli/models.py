"""`luthier models`: a face of `client.models`; `pull` and `rm` alone work on this machine's cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from luthier.cli.client import names_a_server, open_client
from luthier.cli.errors import Trouble
from luthier.cli.options import Options, local_options, pass_options, server_options
from luthier.cli.output import as_json, note, print_details, print_json, print_table, transfer, when
from luthier.language import say


@click.group(
    invoke_without_command=True,
    help=say(
        "List, show and delete models; fetch and remove base models.\n\nExample: luthier models pull Qwen/Qwen3-0.6B",
        "列出、查看、删除模型；获取和移除基座模型。\n\n例子：luthier models pull Qwen/Qwen3-0.6B",
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
    columns = ("id", say("owner", "所有者"), say("created", "创建时间"), say("from", "来自"))
    rows = [
        (model["id"], model.get("owned_by"), when(model.get("created")), model.get("parent") or model.get("source"))
        for model in found
    ]
    print_table(columns, rows)


@models.command(
    "show",
    help=say(
        "Show one model, with its newest evaluation.\n\nExample: luthier models show gpt-3.5-turbo",
        "查看一个模型及其最近一次评估。\n\n例子：luthier models show gpt-3.5-turbo",
    ),
)
@click.argument("model")
@server_options
@pass_options
def show(options: Options, model: str) -> None:
    from luthier.evaluation.service import OpenAIService

    with open_client(options) as client:
        found = as_json(client.models.retrieve(model))
        evaluation = OpenAIService(client).newest(model)
    if not names_a_server(options):
        found |= _pulled(model)
    if evaluation:
        found["evaluation"] = evaluation if options.json else _in_short(evaluation)
    print_json(found) if options.json else print_details(found)


def _pulled(name: str) -> dict[str, Any]:
    """What this machine knows of a base that was pulled; nothing of other models."""
    from luthier.catalogue import Catalogue
    from luthier.settings import Settings

    found = Catalogue(Settings().cache).pulled.find(name)
    keys = ("source", "revision", "licence", "architecture", "size_bytes", "path")
    return {key: value if key == "size_bytes" else str(value) for key in keys if (value := getattr(found, key, None))}


def _in_short(evaluation: dict[str, Any]) -> str:
    from luthier.evaluation.metric_catalog import FIGURES, number

    head = evaluation["headline"]
    name, unit = head["figure"], " %" if FIGURES[head["figure"]].unit == "share" else ""
    value, low, high = (number(name, head[key]) for key in ("value", "low", "high"))
    shown = say(f", definitions {head['definitions']}", f"，函数定义 {head['definitions']}")
    figure = f"{name} {value}{unit} [{low}–{high}], n = {head['n']}{shown if evaluation['functions'] else ''}"
    return f"{figure} · {evaluation['filename']} · {when(evaluation['created_at'])} · {evaluation['id']}"


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
        "Fetch a base model into the cache, so that serving and training need no network later; without SOURCE, the "
        "default one. SOURCE is a Hugging Face id, a ModelScope id, a folder with safetensors (which stays where it "
        "is) or a GGUF file. Weights are read as safetensors or GGUF only. Broken off, it goes on where it was. "
        "Prints the folder.\n\n"
        "Examples: luthier models pull Qwen/Qwen3-0.6B, luthier models pull modelscope:Qwen/Qwen3-0.6B, "
        "luthier models pull ./model-q8_0.gguf --name mine",
        "把基座模型下载并转换到缓存，之后的训练和对话不再需要网络；不给出 SOURCE 时获取默认的基座模型。"
        "SOURCE 可以是 Hugging Face 编号、ModelScope 编号、带 safetensors 的文件夹（保留在原处）或 GGUF 文件。"
        "权重只读取 safetensors 和 GGUF 格式。中断后再次运行会从断点继续。打印所在文件夹。\n\n"
        "例子：luthier models pull Qwen/Qwen3-0.6B、luthier models pull modelscope:Qwen/Qwen3-0.6B、"
        "luthier models pull ./model-q8_0.gguf --name mine",
    ),
)
@click.argument("source", required=False)
@click.option(
    "--name",
    help=say("What model= calls it; by default its id or file name.", "model= 使用的名称，默认为编号或文件名。"),
)
@click.option("--revision", help=say("Branch, tag or commit at the hub.", "站点上的分支、标签或提交。"))
@local_options
@pass_options
def pull(options: Options, source: str | None, name: str | None, revision: str | None) -> None:
    from luthier.catalogue.pull import pull as fetch

    with transfer(say("fetching", "下载")) as progress:
        made, folder = fetch(source, note, progress, name=name, revision=revision)
    print_json({"id": made, "path": str(folder)}) if options.json else click.echo(folder)


@models.command(
    "rm",
    help=say(
        "Remove a base model that was pulled. A folder that was named stays where it is; a base with fine-tuned "
        "models is kept unless --force is given. (`delete` deletes fine-tuned models.)\n\n"
        "Example: luthier models rm Qwen/Qwen3-0.6B",
        "移除获取过的基座模型。原处的文件夹会保留；有微调模型依赖的基座模型会被保留，除非给出 --force。"
        "（`delete` 用于删除微调模型。）\n\n例子：luthier models rm Qwen/Qwen3-0.6B",
    ),
)
@click.argument("name")
@click.option("--force", is_flag=True, help=say("Also when fine-tuned models stand on it.", "即使有微调模型依赖它。"))
@server_options
@pass_options
def remove(options: Options, name: str, force: bool) -> None:
    from luthier.catalogue import Catalogue
    from luthier.settings import Settings

    settings = Settings()
    settings.data = options.data.expanduser().absolute() if options.data else settings.data
    bases = Catalogue(settings.cache).pulled
    if bases.find(name) is None:
        here = ", ".join(base.name for base in bases) or say("none", "无")
        hint = say(" Fine-tuned models: `luthier models delete`.", "微调模型请用 `luthier models delete`。")
        raise Trouble(
            say(f"No base model '{name}' was pulled.", f"没有获取过基座模型“{name}”。"),
            say(f"Pulled: {here}.", f"已获取：{here}。") + (hint if name.startswith("ft:") else ""),
        )
    standing = _standing_on(settings.data, name)
    if standing and not force:
        raise Trouble(
            say(
                f"{len(standing)} fine-tuned models and jobs need {name}, such as {standing[0]}.",
                f"有 {len(standing)} 个微调模型或任务依赖 {name}，例如 {standing[0]}。",
            ),
            say("--force removes it all the same.", "加 --force 仍可移除。"),
        )
    with bases.lock(name):
        bases.remove(name)
    print_json({"id": name, "removed": True}) if options.json else note(say(f"Removed {name}.", f"已移除 {name}。"))


def _standing_on(data: Path, base: str) -> list[str]:
    """Fine-tuned models, and jobs that are not over, that would not work without the base."""
    from luthier.store import Store

    if not data.is_dir():
        return []
    store = Store(data)
    try:
        return [*(model.id for model in store.models.list() if model.base == base), *store.jobs.open_on(base)]
    finally:
        store.close()
