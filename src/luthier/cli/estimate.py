"""`luthier estimate`: the tokens of a training, its cost at OpenAI, and its time, memory and disk on this machine.

Tokens are counted with the base model's tokenizer, and the time is computed from the measured throughput. No server is
needed.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from luthier.cli.check_numbers import excluded_examples, missing_base, nothing_counted
from luthier.cli.check_report import reading_bar
from luthier.cli.errors import CliError, refused_file
from luthier.cli.i18n import printable
from luthier.cli.local import base_folder, local_catalogue, settings_of
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import format_bytes, note, print_json, print_table, stdout_console
from luthier.cli.throughput import Throughput, throughput
from luthier.language import say

_SAMPLE_BYTES = 8_000_000
_BUSY_LOAD = 0.75  # the load per core from which the machine counts as busy
MAX_NIGHT_S = 8 * 3600.0  # the longest training for which a base is suggested
_HAN = re.compile(r"[\u3400-\u9fff]")
_LANGUAGE_CHARACTERS = 100_000  # the beginning of a file from which its language is detected


@click.command(
    help=say(
        "Estimate training on a file: tokens × epochs, OpenAI's price, and the time, memory and disk needed on this "
        "machine, from a short measurement that is made once.\n\n"
        "Example: luthier estimate train.jsonl --epochs 3",
        "估算训练一个文件所需：token × 轮数、OpenAI 的价格，以及在本机上的时间、内存和磁盘（根据一次简短的实测）。\n\n"
        "例子：luthier estimate train.jsonl --epochs 3",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    metavar="NAME",
    help=say("OpenAI model to price; default: all.", "要计价的 OpenAI 模型；默认全部。"),
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 50),
    help=say("Epochs; default: as in a job with `auto`.", "训练轮数；默认同 auto。"),
)
@click.option(
    "--base",
    metavar="NAME",
    help=say("Base model; default: setting `base`.", "基座模型；默认取设置 base。"),
)
@click.option(
    "--full",
    is_flag=True,
    help=say("Full fine-tuning, as with `tune --full`.", "全量微调（同 tune --full）。"),
)
@click.option("--measure", type=click.Choice(["once", "again", "never"]), default="once", show_default=True,
              help=say("Measure the throughput of this machine: once, again, or never.",
                       "测量本机的训练速度：只测一次、重新测、不测。"))  # fmt: skip
@local_options
@pass_options
def estimate(
    options: Options, file: Path, model: str | None, epochs: int | None, base: str | None, full: bool, measure: str
) -> None:
    name, folder = base_folder(base)
    if folder is None:
        raise CliError(missing_base(name))
    prices, settings = _prices(model), settings_of(options)
    document = _count_tokens(file, folder, epochs)
    measured = None
    if measure != "never":
        cache = local_catalogue().cache
        measured = throughput(settings, cache, folder, full=full, again=measure == "again")
    document["base"] = name
    document["openai"] = _openai_cost(document, prices)
    document["here"] = (
        _local_cost(document, measured, settings.keep_checkpoints, file.stat().st_size) if measured else None
    )
    document["language"] = language = _language(file)
    document["other_bases"] = _other_bases(name, folder, measured, language, document["trained_tokens"])
    if options.json:
        print_json(document)
    else:
        _print_estimate(stdout_console(), document, file)
        if measured:
            _print_local_cost(stdout_console(), document["here"], measured)
        if suggestions := document["other_bases"]:
            _print_other_bases(stdout_console(), suggestions, document["language"])
    _print_warnings(document, file)


def _prices(model: str | None) -> dict[str, float]:
    """OpenAI's price per million training tokens, by model; `model` None returns all of them."""
    from luthier.data.cost_estimate import openai_price, openai_prices

    if model is None:
        return openai_prices()
    price = openai_price(model)
    if price is None:
        priced = ", ".join(openai_prices())
        raise CliError(say(f"OpenAI published no training price per token for {model}. Priced models: {priced}",
                          f"OpenAI 没有公布 {model} 按 token 的训练价格。有价格的模型：{priced}"))  # fmt: skip
    return {model: price}


def _count_tokens(file: Path, folder: Path, epochs: int | None) -> dict[str, Any]:
    """The token counts of a file in any format that `luthier check` reads.

    A note on stderr says so if the file must be converted before it can be trained on.
    """
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError

    try:
        with prepared(file) as ready:
            document = _count_lines(file, ready.path, folder, epochs)
    except FindingError as error:
        raise _no_estimate(file, error.finding.sentence()) from error
    if ready.converted:
        command = shlex.join(["luthier", "check", str(file), "--fix", f"{file.stem}.fixed.jsonl"])
        note(say(f"{file} was converted for the estimate; to train, use the file that this command writes: {command}",
                 f"{file} 转换后才作了统计；训练要用这条命令写出的文件：{command}"))  # fmt: skip
    return document


def _no_estimate(file: Path, reason: str) -> CliError:
    return refused_file(file, "cannot be estimated", "无法估算", reason)


def _count_lines(file: Path, lines: Path, folder: Path, epochs: int | None) -> dict[str, Any]:
    """The token counts of `lines`, which are the examples of `file` in JSONL."""
    from luthier.base_config import context_tokens
    from luthier.data.check.file_check import check_file
    from luthier.data.check.method import recognised_method
    from luthier.data.cost_estimate import auto_epochs, openai_epochs
    from luthier.data.file_renderer import renderer_of_files
    from luthier.data.openai_tokens import openai_counter
    from luthier.data.token_stats import measure

    method = recognised_method(lines)
    if method == "reinforcement":
        raise CliError(say(f"{file} is for reinforcement fine-tuning, which cannot be trained here.",
                           f"{file} 是强化微调的数据，这里不能训练。"))  # fmt: skip
    faulty = check_file(lines, method=method).faulty
    with reading_bar(lines, say(f"counting {file.name}", f"统计 {file.name}")) as on_progress:
        numbers = measure(
            lines,
            renderer_of_files(folder, [lines], method),
            context_tokens(folder),
            method=method,
            sample_bytes=_SAMPLE_BYTES,
            count_openai=openai_counter(lines.stat().st_size),
            on_progress=on_progress,
        )
    if not numbers.counted:
        empty = say("It is empty.", "文件是空的。")
        raise _no_estimate(file, nothing_counted(numbers.examples, faulty) if numbers.examples else empty)
    valid = numbers.examples - faulty
    n_epochs = epochs or auto_epochs(valid, numbers.call_share)
    return {
        "examples": numbers.examples,
        "sampled": numbers.sampled,
        "counted": numbers.counted,
        "faulty": faulty,
        "tokens": numbers.total_tokens,
        "openai_tokens": numbers.total_openai_tokens,
        "epochs": n_epochs,
        "epochs_chosen": "given" if epochs else "auto",
        "openai_epochs": epochs or openai_epochs(valid),
        "trained_tokens": numbers.total_tokens * n_epochs,
        "truncated": numbers.truncated,
    }


def _openai_cost(counts: dict[str, Any], prices: dict[str, float]) -> dict[str, Any]:
    """The cost at OpenAI, by OpenAI's token count if that is available, else by the base model's."""
    from luthier.data.cost_estimate import HOSTED_UNTIL, LESSON_USD_PER_1K, training_cost

    tokens, n_epochs = counts["openai_tokens"] or counts["tokens"], counts["openai_epochs"]
    return {
        "until": HOSTED_UNTIL,
        "tokens": tokens,
        "usd": {name: training_cost(tokens, n_epochs, price / 1000) for name, price in prices.items()},
        "usd_per_1m": prices,
        "lesson_usd": training_cost(tokens, n_epochs, LESSON_USD_PER_1K),
    }


def _local_cost(counts: dict[str, Any], measured: Throughput, keep_checkpoints: int, file_bytes: int) -> dict[str, Any]:
    here, tokens = measured.to_dict(), counts["trained_tokens"]
    adapters = (keep_checkpoints + 1) * here["adapter_bytes"]  # those of the checkpoints and of the fine-tuned model
    slowest, fastest = measured.limits
    return {
        **here,
        "seconds": tokens / measured.tokens_per_s,
        "seconds_range": [tokens / fastest, tokens / slowest],
        "disk_bytes": adapters + here["state_bytes"] + 2 * file_bytes,  # the file: its upload and the job's copy
    }


def _print_estimate(console: Console, document: dict[str, Any], file: Path) -> None:
    approximately = say("about ", "约 ") if document["sampled"] < document["examples"] else ""
    base = Path(document["base"]).name
    auto = say(" (auto)", "（auto）") if document["epochs_chosen"] == "auto" else ""
    examples, tokens, epochs = document["examples"], document["tokens"], document["epochs"]
    console.print(printable(say(
        f"{file}: {examples:,} examples, {approximately}{tokens:,} tokens of {base} × {epochs} epochs{auto} = "
        f"{document['trained_tokens']:,} trained tokens.\n",
        f"{file}：{examples:,} 个样本，{approximately}{tokens:,} 个 token（{base}）× {epochs} 轮{auto}"
        f" = 训练 {document['trained_tokens']:,} 个 token。\n",
    )), soft_wrap=True)  # fmt: skip
    _print_openai_cost(console, document["openai"], document)


def _print_openai_cost(console: Console, openai: dict[str, Any], document: dict[str, Any]) -> None:
    epochs = document["openai_epochs"]
    source = say("OpenAI's count", "按 OpenAI 的词表") if document["openai_tokens"] else say("as above", "按上面的统计")
    console.print(say(
        f"At OpenAI, {openai['tokens']:,} tokens ({source}) × {epochs} epochs cost, by its last price list "
        f"(no new fine-tuning jobs after {openai['until']}):",
        f"在 OpenAI，{openai['tokens']:,} 个 token（{source}）× {epochs} 轮，按最后公布的价格"
        f"（{openai['until']} 之后不再接受新的微调任务）：",
    ), soft_wrap=True)  # fmt: skip
    rows = [(name, f"${openai['usd_per_1m'][name]:.2f}", f"${cost:,.2f}") for name, cost in openai["usd"].items()]
    print_table([say("model", "模型"), say("per 1M tokens", "每百万 token"), say("training", "训练费用")], rows)
    console.print(say(
        f"By the formula of many courses, $0.016 per 1k tokens × epochs: ${openai['lesson_usd']:,.2f}. (10,000 tokens "
        "× 10 epochs = $1.60. That was the price of using a fine-tuned gpt-3.5-turbo; training cost half.)\n",
        f"按许多课程的算法，每千 token $0.016 × 轮数：${openai['lesson_usd']:,.2f}。（10,000 个 token × 10 轮 = $1.60。"
        "这其实是使用微调后 gpt-3.5-turbo 的价格，训练价格是它的一半。）\n",
    ), soft_wrap=True)  # fmt: skip


def _print_local_cost(console: Console, here: dict[str, Any], measured: Throughput) -> None:
    memory, disk = format_bytes(here["peak_memory_bytes"]), format_bytes(here["disk_bytes"])
    shortest, longest = map(duration_text, here["seconds_range"])
    time = duration_text(here["seconds"])
    if shortest != longest:
        time = say(f"{time} ({shortest} to {longest})", f"{time}（{shortest}到{longest}）")
    now = here["load_now"]
    text = say(
        f"On this machine ({here['hardware']}): about {time}, {memory} of memory, {disk} of disk; no cost except "
        f"electricity. Rate: {here['tokens_per_s']:,.1f} tokens/s {measured.origin()}.",
        f"在本机（{here['hardware']}）：约 {time}，内存 {memory}，磁盘 {disk}；除电费外不花钱。"
        f"训练速度 {here['tokens_per_s']:,.1f} token/秒，{measured.origin()}。",
    )
    console.print(printable(text), soft_wrap=True)
    if now is not None and now >= _BUSY_LOAD:
        console.print(say(
            f"This machine is busy now (load {now:g} per core); on an idle one it is faster.",
            f"本机现在很忙（每核负载 {now:g}）；空闲时会更快。",
        ), soft_wrap=True)  # fmt: skip


def _language(file: Path) -> str:
    """`zh` if the file contains Han characters, else `en`; compressed files and workbooks are not looked into."""
    with file.open(encoding="utf-8", errors="ignore") as text:
        return "zh" if _HAN.search(text.read(_LANGUAGE_CHARACTERS)) else "en"


def _other_bases(
    name: str, folder: Path, measured: Throughput | None, language: str, tokens: int
) -> list[dict[str, Any]]:
    """Other bases from the table, for tool calls in `language`; none without a measurement of this machine."""
    from luthier.catalogue.suggestions import suggest
    from luthier.catalogue.training_speed import Speed, weight_bytes
    from luthier.hardware import available_memory

    if measured is None:
        return []
    speed = Speed(measured.tokens_per_s, int(measured.measurement.details["peak_memory_bytes"]), weight_bytes(folder))
    suggestions = suggest(language, "calls", tokens, available_memory(), [speed], MAX_NIGHT_S)
    return [suggestion.to_dict() for suggestion in suggestions if suggestion.base.source != name]


def _print_other_bases(console: Console, others: list[dict[str, Any]], language: str) -> None:
    listed = ", ".join(
        f"{base['source']} ({duration_text(base['seconds'])}, {format_bytes(base['memory_bytes'])}, {base['licence']})"
        for base in others
    )
    console.print(printable(say(
        f"Other bases, scaled from this rate: {listed}. More: luthier models suggest --language {language}",
        f"其他基座（按此速度折算）：{listed}。更多：luthier models suggest --language {language}",
    )), soft_wrap=True)  # fmt: skip


def duration_text(seconds: float) -> str:
    """A duration in seconds, minutes or hours, in words."""
    if seconds < 90:
        return say(f"{seconds:.0f} seconds", f"{seconds:.0f} 秒")
    if seconds < 5400:
        return say(f"{seconds / 60:.0f} minutes", f"{seconds / 60:.0f} 分钟")
    return say(f"{seconds / 3600:,.1f} hours", f"{seconds / 3600:,.1f} 小时")


def _print_warnings(document: dict[str, Any], file: Path) -> None:
    from luthier.data.cost_estimate import MANY_S

    if excluded := excluded_examples(document):
        command = shlex.join(["luthier", "check", str(file)])
        note(say(f"{excluded} Jobs reject files with errors; see: {command}",
                 f"{excluded}有错误的文件无法用于训练；请看：{command}")
             if document["faulty"] else excluded, "bold yellow")  # fmt: skip
    if document["here"] and document["here"]["seconds"] > MANY_S:
        note(
            say(
                "That is more than a thousand hours. Consider fewer epochs, a sample of the file, a smaller base model "
                "or a GPU.",
                "这超过一千小时。可以考虑减少轮数、抽取部分样本、换更小的基座模型或使用 GPU。",
            ),
            "bold yellow",
        )
    if document["truncated"]:
        note(say(f"{document['truncated']:,} examples are longer than the base model's context; see: luthier check",
                 f"{document['truncated']:,} 个样本超过基座模型的上下文；请看：luthier check"), "yellow")  # fmt: skip
