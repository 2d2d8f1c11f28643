"""`luthier models`: `client.models` on the command line; `pull` and `rm` work in this machine's cache folder."""

from __future__ import annotations

import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from luthier.cli.client import has_server_address, open_client
from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.local import base_folder, default_base, has_data_folder, local_catalogue, local_store, settings_of
from luthier.cli.model_suggestions import suggest_bases
from luthier.cli.options import Options, data_options, local_options, pass_options, server_options
from luthier.cli.output import (
    download_bars,
    local_time,
    note,
    plural,
    print_details,
    print_json,
    print_table,
    stdout_console,
    to_json,
    wrap_text,
)
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.settings import Settings

_MAX_JOBS = 100  # how many of the newest jobs are searched for the job of a model


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
        listed = [to_json(model) for model in client.models.list()]
    if options.json:
        print_json(listed)
        return
    _print_models(listed)


def _print_models(listed: list[dict[str, Any]]) -> None:
    """Prints the fine-tuned models, the base models, and the names that stand for each model."""
    tuned = [model for model in listed if str(model["id"]).startswith("ft:")]
    names = [model for model in listed if model not in tuned and _is_name(model)]
    bases = [model for model in listed if model not in tuned and model not in names]
    if tuned:
        _heading(say("Fine-tuned models", "微调模型"))
        columns = (say("model", "模型"), say("base", "基座"), say("created", "创建时间"))
        print_table(columns, [(m["id"], m.get("root") or m.get("parent"), local_time(m.get("created"))) for m in tuned])
    if bases:
        _heading(say("Models", "模型"))
        print_table((say("model", "模型"), say("source", "来源")), [(m["id"], m.get("source")) for m in bases])
    by_target: dict[str, list[str]] = {}
    for model in names:
        target = (
            say(f"{model['root']} (upstream)", f"{model['root']}（上游服务）")
            if model.get("owned_by") == "upstream"
            else model["root"]
        )
        by_target.setdefault(str(target), []).append(str(model["id"]))
    for target, aliases in by_target.items():
        _heading(say(f"{plural(len(aliases), 'name')} for {target}", f"名称 {len(aliases)} 个，代表：{target}"))
        names_line = wrap_text(printable(", ".join(aliases)), stdout_console().width)
        stdout_console().print(Text(names_line), soft_wrap=True)
    if not listed:
        stdout_console().print(say("No models.", "没有模型。"))


def _is_name(model: dict[str, Any]) -> bool:
    """Whether the entry is a name for another model, here or upstream; a base model is its own root."""
    root = model.get("root")
    return root is not None and (root != model["id"] or model.get("owned_by") == "upstream")


def _heading(text: str) -> None:
    stdout_console().print(Text(printable(text), style="bold"), soft_wrap=True)


@models.command(
    "show",
    help=say(
        "Show one model, with its job, its base model and its newest evaluation.\n\n"
        "Example: luthier models show gpt-3.5-turbo",
        "查看一个模型，以及它的任务、基座模型和最近一次评估。\n\n例子：luthier models show gpt-3.5-turbo",
    ),
)
@click.argument("model")
@click.option(
    "--lineage",
    is_flag=True,
    help=say(
        "Show its lineage instead: data with digests and findings, base, parent models, settings, code, exports. "
        "Reads the data folder on this machine.",
        "改为显示其来历：数据及摘要和检查结果、基座、来源模型、设置、代码版本、导出记录。读取本机的数据文件夹。",
    ),
)
@server_options
@pass_options
def show(options: Options, model: str, lineage: bool) -> None:
    from luthier.evaluation.service import OpenAIService

    if lineage:
        _show_lineage(options, model)
        return
    with open_client(options) as client:
        details = to_json(client.models.retrieve(model))
        evaluation = OpenAIService(client).latest_evaluation(model)
        if model.startswith("ft:"):
            details |= _job_details(client, model)
    if not has_server_address(options):
        details |= _base_details(str(details.get("root") or model))
    if evaluation:
        details["evaluation"] = evaluation if options.json else _evaluation_summary(evaluation)
    print_json(details) if options.json else print_details(details)


def _show_lineage(options: Options, name: str) -> None:
    from luthier.lineage import lineage

    with local_store(settings_of(options)) as store:
        model = store.models.find(name)
        if model is None:
            raise CliError(say(f"There is no fine-tuned model '{name}' in {store.models_folder.parent}.",
                               f"{store.models_folder.parent} 中没有微调模型“{name}”。"))  # fmt: skip
        document = lineage(model, store, local_catalogue(store.models_folder))
    print_json(document) if options.json else print_details(document)


def _job_details(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """The job that trained the model, its files and epochs; empty for checkpoints and for models of older jobs."""
    import openai

    with suppress(openai.APIStatusError):  # the service may not list jobs
        for job in islice(client.fine_tuning.jobs.list(limit=_MAX_JOBS), _MAX_JOBS):
            if job.fine_tuned_model == model:
                fields = to_json(job)
                epochs = (fields.get("hyperparameters") or {}).get("n_epochs")
                names = ("training_file", "validation_file", "trained_tokens", "seed")
                return {"job": job.id, **{name: fields.get(name) for name in names}, "epochs": epochs}
    return {}


def _base_details(name: str) -> dict[str, Any]:
    """The source, licence, size and abilities of a base model on this machine; empty for other models."""
    from luthier.catalogue.abilities import abilities

    catalogue = local_catalogue()
    pulled = catalogue.pulled.find(name)
    if pulled:
        keys = ("source", "revision", "licence", "architecture", "size_bytes", "path")
        values = {key: getattr(pulled, key, None) for key in keys}
        details = {key: value if key == "size_bytes" else str(value) for key, value in values.items() if value}
        return details | abilities(Path(pulled.path))
    if name not in catalogue or not catalogue.ready(name):
        return {}
    folder = catalogue.folder(name)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return {"base": catalogue.title(name), "size_bytes": size, "path": str(folder)} | abilities(folder)


def _evaluation_summary(evaluation: dict[str, Any]) -> str:
    from luthier.evaluation.metric_catalog import METRICS, format_value

    headline = evaluation["headline"]
    name, unit = headline["figure"], " %" if METRICS[headline["figure"]].unit == "share" else ""
    value, low, high = (format_value(name, headline[key]) for key in ("value", "low", "high"))
    mode = say(f", definitions {headline['definitions']}", f"，函数定义 {headline['definitions']}")
    figure = f"{name} {value}{unit} [{low}–{high}], n = {headline['n']}{mode if evaluation['functions'] else ''}"
    return f"{figure} · {evaluation['filename']} · {local_time(evaluation['created_at'])} · {evaluation['id']}"


@models.command(
    "delete",
    help=say(
        "Delete a fine-tuned model permanently; on a terminal it asks for confirmation.\n\n"
        "Example: luthier models delete ft:gpt-3.5-turbo-0125:personal::abc12345",
        "永久删除微调模型；在终端上会先确认。\n\n例子：luthier models delete ft:gpt-3.5-turbo-0125:personal::abc12345",
    ),
)
@click.argument("model")
@click.option("--yes", is_flag=True, help=say("Do not ask for confirmation.", "不再确认。"))
@server_options
@pass_options
def delete(options: Options, model: str, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        click.confirm(say(f"Delete {model} permanently?", f"永久删除 {model}？"), abort=True, err=True)
    with open_client(options) as client:
        deleted = to_json(client.models.delete(model))
    print_json(deleted) if options.json else note(say(f"Deleted {model}.", f"已删除 {model}。"))


@models.command(
    "pull",
    help=say(
        "Download a base model into the cache folder, so that serving and training need no network; without SOURCE, "
        "the default base model. SOURCE is a Hugging Face id, a ModelScope id, a folder with safetensors (which is "
        "used in place) or a GGUF file. Only safetensors and GGUF weights are loaded. An interrupted download is "
        "resumed. Prints the model's capabilities and its folder.\n\n"
        "Examples: luthier models pull Qwen/Qwen3-0.6B, luthier models pull modelscope:Qwen/Qwen3-0.6B, "
        "luthier models pull ./model-q8_0.gguf --name mine",
        "把基座模型获取到缓存文件夹，之后的训练和推理不再需要网络；不给出 SOURCE 时获取默认的基座模型。"
        "SOURCE 可以是 Hugging Face 编号、ModelScope 编号、带 safetensors 的文件夹（保留在原处）或 GGUF 文件。"
        "权重只加载 safetensors 和 GGUF 格式。中断的下载会从断点继续。打印该模型的能力和所在文件夹。\n\n"
        "例子：luthier models pull Qwen/Qwen3-0.6B、luthier models pull modelscope:Qwen/Qwen3-0.6B、"
        "luthier models pull ./model-q8_0.gguf --name mine",
    ),
)
@click.argument("source", required=False)
@click.option(
    "--name",
    help=say(
        "Name of the model in requests; by default its id or file name.", "请求中的模型名称，默认为编号或文件名。"
    ),
)
@click.option("--revision", help=say("Branch, tag or commit on the hub.", "模型站点上的分支、标签或提交。"))
@local_options
@pass_options
def pull(options: Options, source: str | None, name: str | None, revision: str | None) -> None:
    from luthier.catalogue.abilities import abilities, ability_text
    from luthier.catalogue.pull import pull_model

    if source is None:
        source = default_base()
    with download_bars(say("downloading", "下载")) as progress:
        model_id, folder = pull_model(
            source, local_catalogue(), settings_of(options), note, progress, name=name, revision=revision
        )
    able = abilities(folder) if folder.is_dir() else {}
    if options.json:
        print_json({"id": model_id, "path": str(folder), **({"abilities": able} if able else {})})
        return
    if able:
        note(ability_text(able))
    click.echo(folder)


@models.command(
    "import",
    help=say(
        "Import a PEFT adapter that was trained elsewhere: it is checked against its base model and served under its "
        "own name. Only safetensors weights are accepted. Prints the name.\n\n"
        "Example: luthier models import ./my-adapter --base Qwen/Qwen3-0.6B --name support",
        "导入在别处训练的 PEFT 适配器：与基座模型核对后，以自己的名称提供服务。权重只接受 safetensors。"
        "打印模型名称。\n\n"
        "例子：luthier models import ./my-adapter --base Qwen/Qwen3-0.6B --name support",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--base", required=True, help=say("The base model that it was trained on.", "它所基于的基座模型。"))
@click.option("--name", help=say("Part of the model's name.", "模型名称的一部分。"))
@data_options
@pass_options
def import_model(options: Options, folder: Path, base: str, name: str | None) -> None:
    from luthier.export.importing import import_adapter

    settings = settings_of(options)
    base, _ = base_folder(base)
    with local_store(settings) as store:
        catalogue = local_catalogue(store.models_folder)
        model = import_adapter(folder.absolute(), base, store, catalogue, settings.organization, name)
    print_json({"id": model, "base": base}) if options.json else click.echo(model)


@models.command(
    "rm",
    help=say(
        "Remove a pulled base model. A folder that was pulled by path stays where it is; a base model that fine-tuned "
        "models depend on is only removed with --force. (`delete` deletes fine-tuned models.)\n\n"
        "Example: luthier models rm Qwen/Qwen3-0.6B",
        "移除获取过的基座模型。按路径使用的文件夹会保留在原处；有微调模型依赖的基座模型只有加 --force 才会移除。"
        "（`delete` 用于删除微调模型。）\n\n例子：luthier models rm Qwen/Qwen3-0.6B",
    ),
)
@click.argument("name")
@click.option(
    "--force", is_flag=True, help=say("Remove it even if fine-tuned models depend on it.", "即使有微调模型依赖它。")
)
@server_options
@pass_options
def remove(options: Options, name: str, force: bool) -> None:
    pulled = local_catalogue().pulled
    if pulled.find(name) is None:
        names = ", ".join(model.name for model in pulled) or say("none", "无")
        hint = say(" Fine-tuned models: `luthier models delete`.", "微调模型请用 `luthier models delete`。")
        raise CliError(
            say(f"No base model '{name}' was pulled.", f"没有获取过基座模型“{name}”。"),
            say(f"Pulled: {names}.", f"已获取：{names}。") + (hint if name.startswith("ft:") else ""),
        )
    dependents = _dependents(settings_of(options), name)
    if dependents and not force:
        raise CliError(
            say(
                f"{len(dependents)} fine-tuned models and jobs depend on {name}, such as {dependents[0]}.",
                f"有 {len(dependents)} 个微调模型或任务依赖 {name}，例如 {dependents[0]}。",
            ),
            say("--force removes it anyway.", "加 --force 仍可移除。"),
        )
    with pulled.lock(name):
        pulled.remove(name)
    print_json({"id": name, "removed": True}) if options.json else note(say(f"Removed {name}.", f"已移除 {name}。"))


models.add_command(suggest_bases)


def _dependents(settings: Settings, base: str) -> list[str]:
    """The fine-tuned models and unfinished jobs that depend on a base model."""
    if not has_data_folder(settings):
        return []
    with local_store(settings) as store:
        return [*(model.id for model in store.models.list() if model.base == base), *store.jobs.unfinished_on(base)]
