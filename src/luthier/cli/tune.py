"""`luthier tune`: turns a file into a fine-tuned model: checks, uploads, creates the job, watches it, shows its use.

Each step is also a command of its own.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.check import METHODS, untrainable
from luthier.cli.check_report import check_files, is_converted, print_report
from luthier.cli.client import PLACEHOLDER_KEY, Connection, open_connection, server_flags
from luthier.cli.errors import CliError
from luthier.cli.files import upload_file
from luthier.cli.options import Options, option, pass_options, server_options
from luthier.cli.output import note, print_json, stderr_console, to_json
from luthier.cli.watch import detaching, print_outcome, watch_job
from luthier.language import say
from luthier.types import job_options
from luthier.types.names import SUFFIX

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

SERVE_ADDRESS = "http://127.0.0.1:8000/v1"


def auto_or(number: Callable[[str], float]) -> Callable[[str], float | str]:
    """Option type: a number or `auto`."""

    def convert(text: str) -> float | str:
        try:
            return text if text == "auto" else number(text)
        except ValueError as error:
            message = say(f"{text} is neither a number nor auto.", f"{text} 既不是数字也不是 auto。")
            raise click.BadParameter(message) from error

    return convert


def python_example(connection: Connection, model: str, messages: list[dict[str, str]] | None = None) -> str:
    """Python code that uses `model`. It contains no API key, except the placeholder of a server without keys."""
    address = SERVE_ADDRESS if connection.embedded else connection.address
    # The embedded server ends with the command; one that `luthier serve` starts on this machine needs no key.
    keyless = connection.embedded or connection.client.api_key == PLACEHOLDER_KEY
    key = f', api_key="{PLACEHOLDER_KEY}"' if keyless else ""
    attribute = "message" if messages else "message.content"  # the answer to custom messages may be a tool call
    messages = messages or [{"role": "user", "content": say("Hello!", "你好！")}]
    return "\n".join(
        (
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{address}"{key})',
            f'answer = client.chat.completions.create(model="{model}", '
            f"messages={json.dumps(messages, ensure_ascii=False)})",
            f"print(answer.choices[0].{attribute})",
        )
    )


def create_job(
    client: openai.OpenAI, training_file: str, validation_file: str | None, parameters: dict[str, Any], method: str
) -> FineTuningJob:
    """Creates a job; `parameters` that are None keep the server's defaults."""
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    hyperparameters = {name: parameters[name] for name in names if parameters[name] is not None}
    names = ("model", "suffix", "seed")
    request: dict[str, Any] = {name: parameters[name] for name in names if parameters[name] is not None}
    metadata = job_metadata(parameters)
    if metadata:
        request["metadata"] = metadata
    if validation_file:
        request["validation_file"] = validation_file
    request |= method_fields(method, hyperparameters)
    job: FineTuningJob = client.fine_tuning.jobs.create(training_file=training_file, **request)
    return job


def method_fields(method: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """The fields of a job request for its method and hyperparameters.

    Supervised hyperparameters are sent at the top level, which every compatible service reads.
    """
    if method != "supervised":
        return {"method": {"type": method, method: {"hyperparameters": hyperparameters}}}
    return {"hyperparameters": hyperparameters} if hyperparameters else {}


def job_metadata(parameters: dict[str, Any]) -> dict[str, str]:
    """Luthier's own parameters (rank, alpha, targets and others) as job metadata. Raises UsageError."""
    keys = {"rank": job_options.RANK, "alpha": job_options.ALPHA, "targets": job_options.TARGETS}
    keys |= {"early_stopping": job_options.EARLY_STOPPING, "priority": job_options.PRIORITY}
    metadata = {key: str(parameters[name]) for name, key in keys.items() if parameters.get(name) is not None}
    if parameters.get("full"):
        metadata[job_options.TUNING] = "full"
    try:
        job_options.parse(metadata)
    except ValueError as error:
        text = say(
            str(error), f"--rank、--alpha、--targets、--early-stopping、--priority 或 --full 的取值无效：{error}"
        )
        raise click.UsageError(text) from None
    return metadata


def local_file(name: str | None) -> Path | None:
    """The path if `name` is a file; None for a `file-…` id. Raises UsageError for anything else."""
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


def method_for(training: Path | None) -> str:
    """The training method, inferred from a local file's first lines; a note says so if it is not supervised.

    Raises:
        CliError: The file cannot be read, or is for a method that cannot be trained here.
    """
    from luthier.data.check.method import recognised_method
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError

    method = "supervised"
    with suppress(FindingError):  # the check reports it
        if training:
            with prepared(training) as ready:
                method = recognised_method(ready.path)
    if method not in METHODS:
        raise CliError(untrainable(method))
    if method != "supervised":
        note(
            say(
                f"{training} contains preference pairs, so the method is {method}.",
                f"{training} 里是偏好对，训练方法为 {method}。",
            )
        )
    return method


def _exit_on_errors(training: Path | None, validation: Path | None, method: str) -> None:
    reports = check_files(training, validation, method)
    for path, report in reports.items():
        print_report(stderr_console(), path, report, is_validation=path == validation)
    if not all(report.ok for report in reports.values()):
        note(
            say(
                "Nothing was uploaded. Correct the errors, or skip this check with --no-check; the server checks too.",
                "没有上传任何内容。请改正错误，或用 --no-check 跳过此检查（服务器也会检查）。",
            ),
            "red",
        )
        raise click.exceptions.Exit(1)
    for path, report in reports.items():
        if is_converted(report):
            out = f"{path.stem}.fixed.jsonl"
            raise CliError(
                say(
                    f"Nothing was uploaded. {path} is not a JSONL file of examples, which servers require.",
                    f"没有上传任何内容。{path} 不是服务器所要求的 JSONL 样本文件。",
                ),
                say(
                    f"Convert it first: luthier check {shlex.quote(str(path))} --fix {shlex.quote(out)}",
                    f"请先转换：luthier check {shlex.quote(str(path))} --fix {shlex.quote(out)}",
                ),
            )


def _check_ranges(parameters: dict[str, Any], validation: str | None) -> None:
    """Raises UsageError for values that the API would refuse, before anything is uploaded."""
    if parameters.get("early_stopping") and not validation:
        raise click.UsageError(
            say("--early-stopping needs --validation, because it depends on the validation loss.",
                "--early-stopping 需要 --validation：它根据验证损失判断。")
        )  # fmt: skip
    for name, flag, highest in (("n_epochs", "--epochs", 50), ("batch_size", "--batch-size", 256)):
        value = parameters.get(name)
        if isinstance(value, int) and not 1 <= value <= highest:
            message = f"{flag} {value} is not between 1 and {highest}."
            raise click.UsageError(say(message, f"{flag} {value} 不在 1 到 {highest} 之间。"))
    rate = parameters.get("learning_rate_multiplier")
    if isinstance(rate, float) and not rate > 0:
        message = say(f"{rate} is not greater than 0.", f"{rate} 应大于 0。")
        raise click.UsageError(f"--learning-rate-multiplier {message}")
    suffix = parameters.get("suffix")
    if suffix is not None and not SUFFIX.fullmatch(suffix):
        raise click.UsageError(
            say(
                f"--suffix {suffix}: 1 to 64 letters, digits, '_', '.' and '-' are allowed.",
                f"--suffix {suffix}：只能用 1 到 64 个字母、数字、“_”、“.”、“-”。",
            )
        )
    seed = parameters.get("seed")
    if seed is not None and not 0 <= seed < 2**31:
        raise click.UsageError(
            say(f"--seed {seed} is not between 0 and 2^31 - 1.", f"--seed {seed} 不在 0 到 2^31 - 1 之间。")
        )


def check_request(
    client: openai.OpenAI, parameters: dict[str, Any], files: list[tuple[str | None, Path | None]]
) -> None:
    """Checks, before anything is uploaded, that the model and the files given by id exist. Raises CliError.

    A service that does not answer like OpenAI's API is not asked further: it will check the request itself.
    """
    import openai

    for name, path in files:
        if name and path is None:
            client.files.retrieve(name)
    try:
        client.models.retrieve(parameters["model"])
    except openai.NotFoundError as error:
        if error.code != "model_not_found":
            return
        raise CliError(
            say(
                f"There is no model {parameters['model']} here. Nothing was uploaded.",
                f"没有模型 {parameters['model']}。没有上传任何内容。",
            ),
            say("List the models: luthier models list", "可用的模型：luthier models list"),
        ) from error
    except openai.APIStatusError:
        return


@contextmanager
def deleted_on_refusal(client: openai.OpenAI, file_ids: Sequence[str | None]) -> Iterator[None]:
    """Deletes the uploaded files if the server refuses the job."""
    import openai

    try:
        yield
    except (openai.BadRequestError, openai.NotFoundError, openai.PermissionDeniedError):
        for file_id in file_ids:
            if file_id:
                with suppress(openai.OpenAIError):
                    client.files.delete(file_id)
        raise


def upload_if_local(client: openai.OpenAI, name: str | None, path: Path | None) -> str | None:
    """Uploads `path` and returns its file id; without a path, `name` is the id already."""
    if path is None:
        return name
    file_id = upload_file(client, path).id
    note(say(f"{path} uploaded as {file_id}", f"{path} 已上传为 {file_id}"))
    return file_id


def _print_result(options: Options, connection: Connection, job: FineTuningJob) -> None:
    if options.json:
        print_json(to_json(job))
    elif job.fine_tuned_model:
        flags = server_flags(options)
        if connection.embedded:
            note(say(f"Serve it: luthier serve{flags}", f"启动服务：luthier serve{flags}"))
        note(
            say(
                f"Try it:   luthier chat {job.fine_tuned_model}{flags}",
                f"试一试：luthier chat {job.fine_tuned_model}{flags}",
            )
        )
        note(say("In Python:", "在 Python 里："))
        click.echo(python_example(connection, job.fine_tuned_model))


@click.command(
    help=say(
        "Train a model on TRAIN_FILE, a path or a file-… id: check and upload the file, create the job and watch it "
        "until it ends. Exit code 1 if the file has errors or the job fails.\n\n"
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
@click.option("--suffix", help=say("Suffix in the new model's name.", "新模型名称中的后缀。"))
@click.option("--epochs", "n_epochs", type=auto_or(int), metavar="N|auto", help=say("Epochs.", "训练轮数。"))
@click.option("--batch-size", type=auto_or(int), metavar="N|auto", help=say("Examples per step.", "每步的样本数。"))
@click.option(
    "--learning-rate-multiplier",
    type=auto_or(float),
    metavar="X|auto",
    help=say("Learning rate multiplier.", "学习率倍数。"),
)
@click.option(
    "--rank",
    type=int,
    metavar="N",
    help=say(
        "LoRA rank of the adapter. Luthier only, as are the next two.",
        "适配器的 LoRA 秩。与下面两项一样，仅限 Luthier。",
    ),
)
@click.option(
    "--alpha", type=int, metavar="N", help=say("LoRA alpha; default: twice the rank.", "LoRA alpha，默认为秩的两倍。")
)
@click.option(
    "--targets",
    metavar="NAME,NAME",
    help=say(
        "LoRA target modules: all-linear, attention, mlp, or names such as q_proj,v_proj.",
        "LoRA 的目标模块：all-linear、attention、mlp，或层名，例如 q_proj,v_proj。",
    ),
)
@click.option(
    "--full",
    is_flag=True,
    help=say(
        "Full fine-tuning instead of LoRA; needs about 18 bytes of memory per weight. Luthier only.",
        "全量微调而不是 LoRA，每个权重约需 18 字节内存。仅限 Luthier。",
    ),
)
@click.option(
    "--early-stopping",
    type=int,
    metavar="N",
    help=say(
        "Stop training when N validations in a row do not lower the validation loss, and keep the best weights; needs "
        "--validation. Luthier only.",
        "连续 N 次验证的损失都没有更低时结束训练，保留最好的权重；需要 --validation。仅限 Luthier。",
    ),
)
@option("--priority", "Priority in the queue: higher ones start first; default: 0. Luthier only.",
        "队列中的优先级：数值大的先开始；默认为 0。仅限 Luthier。", type=int, metavar="N")  # fmt: skip
@click.option("--seed", type=int, help=say("Random seed; makes the job reproducible.", "随机种子，使训练可以重现。"))
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help=say(
        "Training method; default: inferred from the first lines of a local file.",
        "训练方法；默认按本地文件开头的样本判断。",
    ),
)
@click.option("--no-check", is_flag=True, help=say("Do not check files before the upload.", "上传前不检查文件。"))
@click.option("--no-watch", is_flag=True, help=say("Create the job and return.", "创建任务后立即返回。"))
@server_options
@pass_options
def tune(
    options: Options,
    /,
    train_file: str,
    validation: str | None,
    method: str | None,
    no_check: bool,
    no_watch: bool,
    **parameters: Any,
) -> None:
    training_path, validation_path = local_file(train_file), local_file(validation)
    job_metadata(parameters)  # before anything is uploaded
    _check_ranges(parameters, validation)
    method = method or method_for(training_path)
    if not no_check:
        _exit_on_errors(training_path, validation_path, method)
    with open_connection(options) as connection:
        client = connection.client
        check_request(client, parameters, [(train_file, training_path), (validation, validation_path)])
        training_id = upload_if_local(client, train_file, training_path) or train_file
        validation_id = upload_if_local(client, validation, validation_path)
        uploaded = [
            file_id for file_id, path in ((training_id, training_path), (validation_id, validation_path)) if path
        ]
        with deleted_on_refusal(client, uploaded):
            job = create_job(client, training_id, validation_id, parameters, method)
        if no_watch and not connection.embedded:
            print_json(to_json(job)) if options.json else click.echo(job.id)
            return
        if no_watch:
            note(
                say(
                    "--no-watch is ignored: the server ends with this command.",
                    "已忽略 --no-watch：服务器会随本命令结束。",
                )
            )
        with detaching(connection, options, job.id):
            job = watch_job(client, job.id, stderr_console())
        code = print_outcome(job)
        _print_result(options, connection, job)
    raise click.exceptions.Exit(code)
