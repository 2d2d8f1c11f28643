"""`luthier tune`: from a file to a fine-tuned model: check, upload, create the job, watch, show how to use it.

Each part is another command's; this file is their order. Knows nothing that `client.fine_tuning.jobs` does not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.check import METHODS
from luthier.cli.check_report import check_files, is_converted, print_report
from luthier.cli.client import PLACEHOLDER_KEY, Connection, open_connection, same_server
from luthier.cli.errors import Trouble
from luthier.cli.files import upload_file
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import as_json, note, notices, print_json
from luthier.cli.watch import conclude, leaving, watch_job
from luthier.language import say
from luthier.types import job_options

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

DEFAULT_ADDRESS = "http://127.0.0.1:8000/v1"


def auto_or(number: Callable[[str], float]) -> Callable[[str], float | str]:
    """An option's type: a number, or `auto` for the server to choose."""

    def convert(text: str) -> float | str:
        try:
            return text if text == "auto" else number(text)
        except ValueError as error:
            message = say(f"{text} is neither a number nor auto.", f"{text} 既不是数字也不是 auto。")
            raise click.BadParameter(message) from error

    return convert


def python_lines(connection: Connection, model: str, messages: list[dict[str, str]] | None = None) -> str:
    """Four lines of Python that use `model`. A key is printed only if it is the placeholder of a keyless server."""
    address = DEFAULT_ADDRESS if connection.embedded else connection.address
    # An embedded server is gone by now; the one that `luthier serve` starts on this machine asks for no key.
    keyless = connection.embedded or connection.client.api_key == PLACEHOLDER_KEY
    key = f', api_key="{PLACEHOLDER_KEY}"' if keyless else ""
    shown = "message" if messages else "message.content"  # an answer to messages of one's own may be a call
    messages = messages or [{"role": "user", "content": say("Hello!", "你好！")}]
    return "\n".join(
        (
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{address}"{key})',
            f'answer = client.chat.completions.create(model="{model}", '
            f"messages={json.dumps(messages, ensure_ascii=False)})",
            f"print(answer.choices[0].{shown})",
        )
    )


def create_job(
    client: openai.OpenAI, training_file: str, validation_file: str | None, given: dict[str, Any], method: str
) -> FineTuningJob:
    """Creates the job; of `given`, what is None is left for the server to choose.

    Supervised hyperparameters travel at the top level, which every compatible service reads.
    """
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    hyperparameters = {name: given[name] for name in names if given[name] is not None}
    request: dict[str, Any] = {name: given[name] for name in ("model", "suffix", "seed") if given[name] is not None}
    metadata = job_metadata(given)
    if metadata:
        request["metadata"] = metadata
    if validation_file:
        request["validation_file"] = validation_file
    if method != "supervised":
        request["method"] = {"type": method, method: {"hyperparameters": hyperparameters}}
    elif hyperparameters:
        request["hyperparameters"] = hyperparameters
    job: FineTuningJob = client.fine_tuning.jobs.create(training_file=training_file, **request)
    return job


def job_metadata(given: dict[str, Any]) -> dict[str, str]:
    """What Luthier reads in a job's metadata. Raises UsageError."""
    keys = {"rank": job_options.RANK, "alpha": job_options.ALPHA, "targets": job_options.TARGETS}
    metadata = {key: str(given[name]) for name, key in keys.items() if given.get(name) is not None}
    if given.get("full"):
        metadata[job_options.TUNING] = "full"
    try:
        job_options.read(metadata)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return metadata


def file_to_check(name: str | None) -> Path | None:
    """The path, if `name` is one; None for a `file-…` id. Raises UsageError for what is neither."""
    if name is None:
        return None
    path = Path(name)
    if path.is_file():
        return path
    if name.startswith("file-"):
        return None
    raise click.UsageError(
        say(f"{name} is neither a file nor a file-… id.", f"{name} 既不是文件，也不是 file-… 编号。")
    )


def _stop_on_errors(training: Path | None, validation: Path | None, method: str) -> None:
    reports = check_files(training, validation, method)
    for path, report in reports.items():
        print_report(notices(), path, report)
    if not all(report.ok for report in reports.values()):
        note(
            say(
                "Nothing was uploaded. Correct the errors, or leave the check to the server with --no-check.",
                "没有上传任何内容。请改正错误，或用 --no-check 留给服务器检查。",
            ),
            "red",
        )
        raise click.exceptions.Exit(1)
    for path, report in reports.items():
        if is_converted(report):
            out = f"{path.stem}.fixed.jsonl"
            raise Trouble(
                say(
                    f"Nothing was uploaded. {path} is not JSONL of examples, and no server takes it as it is.",
                    f"没有上传任何内容。{path} 不是由样本组成的 JSONL，服务器不接受。",
                ),
                say(
                    f"Write it as such: luthier check {shlex.quote(str(path))} --fix {shlex.quote(out)}",
                    f"请先转换：luthier check {shlex.quote(str(path))} --fix {shlex.quote(out)}",
                ),
            )


def uploaded(client: openai.OpenAI, name: str | None, path: Path | None) -> str | None:
    """The id of a file: of `path` once it is uploaded, else `name` is one."""
    if path is None:
        return name
    file_id = upload_file(client, path).id
    note(say(f"{path} is {file_id}", f"{path} 的编号为 {file_id}"))
    return file_id


def _print_result(options: Options, connection: Connection, job: FineTuningJob) -> None:
    if options.json:
        print_json(as_json(job))
    elif job.fine_tuned_model:
        flags = same_server(options)
        if connection.embedded:
            note(say(f"Serve it: luthier serve{flags}", f"启动服务：luthier serve{flags}"))
        note(
            say(
                f"Try it:   luthier chat {job.fine_tuned_model}{flags}",
                f"试一试：luthier chat {job.fine_tuned_model}{flags}",
            )
        )
        note(say("In Python:", "在 Python 里："))
        click.echo(python_lines(connection, job.fine_tuned_model))


@click.command(
    help=say(
        "Train a model on TRAIN_FILE, a path or a file-… id: checks it, uploads it, creates the job and watches it to "
        "its end. Exit code 1 if the file has errors or the job fails.\n\n"
        "Example: luthier tune train.jsonl --suffix finance --epochs 3",
        "用 TRAIN_FILE（路径或 file-… 编号）训练模型：检查、上传、创建微调任务，并观察到结束。"
        "文件有错误或任务失败时退出码为 1。\n\n例子：luthier tune train.jsonl --suffix finance --epochs 3",
    )
)
@click.argument("train_file")
@click.option(
    "--validation", metavar="FILE", help=say("The validation file, a path or an id.", "验证文件：路径或编号。")
)
@click.option("--model", default="gpt-3.5-turbo", show_default=True, help=say("The model to start from.", "起始模型。"))
@click.option("--suffix", help=say("A part of the new model's name.", "新模型名称中的后缀。"))
@click.option(
    "--epochs", "n_epochs", type=auto_or(int), metavar="N|auto", help=say("Passes over the file.", "训练轮数。")
)
@click.option("--batch-size", type=auto_or(int), metavar="N|auto", help=say("Examples per step.", "每步的样本数。"))
@click.option(
    "--learning-rate-multiplier",
    type=auto_or(float),
    metavar="X|auto",
    help=say("Scales the learning rate.", "学习率的倍数。"),
)
@click.option(
    "--rank",
    type=int,
    metavar="N",
    help=say(
        "Rank of the adapter. On Luthier only, as are the next two.", "适配器的秩。与下面两项一样，仅限 Luthier。"
    ),
)
@click.option(
    "--alpha", type=int, metavar="N", help=say("Its alpha; twice the rank unless given.", "alpha，默认为秩的两倍。")
)
@click.option(
    "--targets",
    metavar="NAME,NAME",
    help=say(
        "Layers that get an adapter: all-linear, attention, mlp, or names such as q_proj,v_proj.",
        "加适配器的层：all-linear、attention、mlp，或层名，例如 q_proj,v_proj。",
    ),
)
@click.option(
    "--full",
    is_flag=True,
    help=say(
        "Train all weights instead of an adapter; takes some 18 bytes of memory a weight. On Luthier only.",
        "训练全部权重而不是适配器，每个权重约需 18 字节内存。仅限 Luthier。",
    ),
)
@click.option("--seed", type=int, help=say("Makes the job repeatable.", "随机种子，使训练可以重现。"))
@click.option("--method", type=click.Choice(METHODS), default="supervised", show_default=True)
@click.option("--no-check", is_flag=True, help=say("Leave the check to the server.", "不在本地检查，留给服务器。"))
@click.option("--no-watch", is_flag=True, help=say("Create the job and return.", "创建任务后立即返回。"))
@server_options
@pass_options
def tune(
    options: Options,
    /,
    train_file: str,
    validation: str | None,
    method: str,
    no_check: bool,
    no_watch: bool,
    **given: Any,
) -> None:
    training_path, validation_path = file_to_check(train_file), file_to_check(validation)
    job_metadata(given)
    if not no_check:
        _stop_on_errors(training_path, validation_path, method)
    with open_connection(options) as connection:
        client = connection.client
        training_id = uploaded(client, train_file, training_path) or train_file
        validation_id = uploaded(client, validation, validation_path)
        job = create_job(client, training_id, validation_id, given, method)
        if no_watch and not connection.embedded:
            print_json(as_json(job)) if options.json else click.echo(job.id)
            return
        if no_watch:
            note(
                say(
                    "The server ends with this command, so the job is watched.",
                    "服务器随本命令结束，因此仍会观察到任务结束。",
                )
            )
        with leaving(connection, options, job.id):
            job = watch_job(client, job.id, notices())
        code = conclude(job)
        _print_result(options, connection, job)
    raise click.exceptions.Exit(code)
